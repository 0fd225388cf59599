// Runs a fuzz target without libFuzzer: its corpus, then seeded mutations of it.
//
//   NAME_replay [--mutations N] [--seed S] CORPUS
//
// The same arguments give the same inputs. A finding ends the process by its signal; the input that
// was under way is on stderr then, in hexadecimal (`xxd -r -p` makes a file of it). So does an
// input that takes longer than kSecondsPerInput.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/file/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Of the sanitizers' runtime; null without it.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace pepnet {
namespace {

constexpr unsigned kSecondsPerInput = 20;  // a busy machine, and the thread sanitizer
constexpr size_t kMaxInputBytes = 1 << 16;
constexpr size_t kShownBytes = 4096;

std::string g_input;  // the one under way, for the handler

void Show(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

// Only what is safe in a handler.
void ShowInput() {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (size_t i = 0; i < std::min(g_input.size(), kShownBytes); ++i) {
    const uint8_t byte = static_cast<uint8_t>(g_input[i]);
    const char hex[] = {kDigits[byte >> 4], kDigits[byte & 15], '\0'};
    Show(hex);
  }
  Show(g_input.size() > kShownBytes ? " ...\n" : "\n");
}

void ShowFinding() {
  Show("\nthis input is a finding:\n");
  ShowInput();
}

void EndBySignal(int signal) {
  if (signal == SIGALRM) Show("\nit takes too long;");
  ShowFinding();
  ::signal(signal, SIG_DFL);
  raise(signal);
}

void WatchForFindings() {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) {
    // A sanitizer has handlers of its own, which say more, and calls back when it ends the process.
    if (const auto before = ::signal(signal, EndBySignal); before != SIG_DFL) {
      ::signal(signal, before);
    }
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(ShowFinding);
}

// Draws below a bound, from a seed.
class Draws {
 public:
  explicit Draws(uint64_t seed) : state_(seed) {}
  uint64_t Below(uint64_t bound) { return bound == 0 ? 0 : Next() % bound; }

 private:
  uint64_t Next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

// Numbers at which sizes, counts and types end.
constexpr uint64_t kEdges[] = {0,
                               1,
                               0x7f,
                               0xff,
                               0x7fff,
                               0xffff,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               0x7fffffffffffffff,
                               0x8000000000000000,
                               0xffffffffffffffff};

// One change of `input`; `other` is another file of the corpus.
void MutateOnce(Draws* draws, const std::string& other, std::string* input) {
  const size_t at = draws->Below(input->size() + 1);
  const size_t length = 1 + draws->Below(std::min<size_t>(64, input->size() - at + 1));
  switch (draws->Below(8)) {
    case 0:  // flip one bit
      if (at < input->size()) {
        (*input)[at] = static_cast<char>((*input)[at] ^ (1 << draws->Below(8)));
      }
      break;
    case 1:  // another byte
      if (at < input->size()) (*input)[at] = static_cast<char>(draws->Below(256));
      break;
    case 2:
      input->resize(at);
      break;
    case 3:
      input->erase(at, length);
      break;
    case 4:  // a piece twice
      input->insert(at, input->substr(at, length));
      break;
    case 5: {  // an edge over what stands there
      const uint64_t edge = kEdges[draws->Below(std::size(kEdges))];
      const size_t width = size_t{1} << draws->Below(4);
      if (at + width <= input->size()) std::memcpy(input->data() + at, &edge, width);
      break;
    }
    case 6: {  // the same as decimal text
      const std::string edge =
          std::to_string(static_cast<int64_t>(kEdges[draws->Below(std::size(kEdges))]));
      input->replace(at, draws->Below(4), edge);
      break;
    }
    default:  // the beginning of this, the end of another
      input->replace(at, std::string::npos, other, draws->Below(other.size() + 1),
                     std::string::npos);
      break;
  }
}

void RunInput(std::string input) {
  g_input = std::move(input);
  // The target gets a copy of exactly its size, so that a sanitizer sees reads behind its end.
  const std::vector<uint8_t> copy(g_input.begin(), g_input.end());
  alarm(kSecondsPerInput);
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
  alarm(0);
}

std::vector<std::string> ReadCorpus(const std::string& directory) {
  std::vector<std::string> inputs;
  const StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (!names.ok()) {
    std::fprintf(stderr, "%s\n", names.status().ToString().c_str());
    std::exit(2);
  }
  for (const std::string& name : *names) {
    StatusOr<std::string> contents = ReadFile(absl::StrCat(directory, "/", name));
    if (!contents.ok()) {
      std::fprintf(stderr, "%s\n", contents.status().ToString().c_str());
      std::exit(2);
    }
    inputs.push_back(*std::move(contents));
  }
  return inputs;
}

int Replay(const std::string& directory, uint64_t mutations, uint64_t seed) {
  const std::vector<std::string> corpus = ReadCorpus(directory);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s holds no inputs; there would be nothing to replay\n",
                 directory.c_str());
    return 2;
  }
  WatchForFindings();
  const auto start = std::chrono::steady_clock::now();
  RunInput("");
  for (const std::string& input : corpus) RunInput(input);
  for (uint64_t number = 0; number < mutations; ++number) {
    Draws draws(seed * 1000003 + number);
    std::string input = corpus[draws.Below(corpus.size())];
    const uint64_t changes = 1 + draws.Below(6);
    for (uint64_t change = 0; change < changes; ++change) {
      MutateOnce(&draws, corpus[draws.Below(corpus.size())], &input);
    }
    input.resize(std::min(input.size(), kMaxInputBytes));
    RunInput(std::move(input));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%zu inputs of the corpus and %llu mutations with seed %llu in %.1f s: no finding\n",
              corpus.size(), static_cast<unsigned long long>(mutations),
              static_cast<unsigned long long>(seed), seconds);
  return 0;
}

int Usage() {
  std::fprintf(stderr, "usage: NAME_replay [--mutations N] [--seed S] CORPUS\n");
  return 2;
}

}  // namespace
}  // namespace pepnet

int main(int argc, char** argv) {
  uint64_t mutations = 1000, seed = 1;
  std::string corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--mutations" && i + 1 < argc) {
      mutations = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (corpus.empty() && argument[0] != '-') {
      corpus = argument;
    } else {
      return pepnet::Usage();
    }
  }
  return corpus.empty() ? pepnet::Usage() : pepnet::Replay(corpus, mutations, seed);
}
