#include "cli/job/device_flags.h"

#include <CLI/CLI.hpp>

namespace pepnet {

void AddDeviceFlags(CLI::App* command, JobFlags* flags) {
  flags->device = "auto";
  command
      ->add_option("--device", flags->device,
                   "where the workers compute: auto (a GPU each where there is one, else the CPU), cpu or gpu")
      ->check(CLI::IsMember({"auto", "cpu", "gpu"}));
  command->add_flag("--deterministic", flags->deterministic,
                    "on GPUs: the same bits for the same GPUs and links, at some cost; CPUs give them anyway");
}

}  // namespace pepnet
