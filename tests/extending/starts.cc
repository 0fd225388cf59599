// Ends with 1 and the reason if the descriptions of types and the schema of configs disagree: the
// first thing that every command asks.
#include <cstdio>
#include <string>

#include "common/config/descriptions.h"

int main() {
  const pepnet::Status status = pepnet::CheckDescriptions();
  if (status.ok()) return 0;
  std::printf("%s\n", std::string(status.message()).c_str());
  return 1;
}
