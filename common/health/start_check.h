// The check before the first step: do all ranks of the job fit together, and do their hosts have
// what it needs?
//
// Every rank describes itself, all descriptions go to all ranks, and every rank checks them alike,
// so that the job ends before it begins with one sentence that names ranks and hosts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/net/cluster.h"
#include "common/net/transport.h"

namespace pepnet {

struct RankInfo {
  std::string host, role;        // "worker 0"
  std::string program;           // file name: pepnet, pepnet_ps
  std::string program_checksum;  // bytes and crc32c of that file
  // Of the effective config; "" for servers that get it from worker 0.
  std::string config_checksum;
  std::string cpu;  // instruction set; "" for servers
  // file name -> bytes, of MPI, Arrow, torch, CUDA and NCCL as far as they are loaded
  std::map<std::string, std::string> libraries;
  int64_t memory_bytes = 0;  // that the host has to give right now; 0: unknown
  int64_t open_files = 0;    // limit of this process; 0: unknown
  // workers: what all rows of all tables would need, on all servers together
  double table_bytes = 0;
};

// Describes this process; reads its own program file once (some ten milliseconds).
RankInfo InfoOfThisRank(const std::string& role, const std::string& config_text,
                        const std::string& cpu);

struct StartReport {
  std::vector<std::string> lines;     // for the log of worker 0: hosts, their ranks and memory
  std::vector<std::string> warnings;  // what may go on
};
// `info` by rank.
// Errors: ranks of one program that differ in program file, libraries or config; a limit of open
// files that the job's connections do not fit in. Warnings: other instruction sets (bits differ,
// laws L3 and L4), tables larger than a host's memory. (GPUs: cli/job/compute.h.)
StatusOr<StartReport> CheckStart(const std::vector<RankInfo>& info, const Layout& layout);

// Exchanges info among all ranks and checks it. Every rank calls it once, after the roles are
// known.
StatusOr<StartReport> CheckStart(Transport* transport, const Layout& layout, const RankInfo& mine);

}  // namespace pepnet
