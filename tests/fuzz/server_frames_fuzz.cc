// A live server and what its workers may send: right and wrong frames in any order, from ranks that
// are workers and ranks that are not. An input is a list of messages, each a byte for its kind and
// then what that kind takes.
#include <bit>
#include <deque>

#include "common/base/logging.h"
#include "common/checkpoint/manifest.h"
#include "common/file/file.h"
#include "common/net/in_process.h"
#include "common/net/packing.h"
#include "ps/server.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/scripted_transport.h"
#include "tests/ps/test_worker.h"
#include "tests/support/temporary_directory.h"

namespace pepnet {
namespace {

constexpr int kRanks = 4;  // 0 and 1 are workers, 2 is nobody, 3 is the server
constexpr int kServer = 3;
constexpr size_t kMaxIds = 64;
constexpr size_t kMaxMessages = 64;

wire::ServerPlan Plan(FuzzInput* input) {
  static constexpr SparseOptimizerKind kKinds[] = {
      SparseOptimizerKind::kSgd, SparseOptimizerKind::kAdagrad, SparseOptimizerKind::kAdam};
  wire::ServerPlan plan = TwoTablePlan(kKinds[input->Take<uint8_t>() % 3], 2);
  plan.set_server_count(1 + input->Take<uint8_t>() % 2);
  return plan;
}

// A plan with one of its numbers changed.
wire::ServerPlan WrongPlan(FuzzInput* input) {
  wire::ServerPlan plan = Plan(input);
  const auto field = input->Take<uint8_t>();
  const auto value = input->Take<int64_t>();
  switch (field % 8) {
    case 0:
      plan.mutable_tables(0)->set_rows(value);
      break;
    case 1:
      plan.mutable_tables(1)->set_dim(static_cast<int32_t>(value));
      break;
    case 2:
      plan.set_server_index(static_cast<int32_t>(value));
      break;
    case 3:
      plan.set_server_count(static_cast<int32_t>(value));
      break;
    case 4:
      plan.add_worker_ranks(static_cast<int32_t>(value));
      break;
    case 5:
      plan.set_finished_steps(value);
      break;
    case 6:
      plan.set_timeout_s(std::bit_cast<double>(value));
      break;
    default:
      plan.mutable_tables(0)->set_init_a(std::bit_cast<double>(value));
      break;
  }
  return plan;
}

Bytes Pull(FuzzInput* input, FrameHeader header) {
  header.type = MessageType::kPull;
  header.table_count = 2;
  const uint32_t counts[] = {input->Take<uint8_t>() % 8u, input->Take<uint8_t>() % 8u};
  Bytes frame = MakeFrame(header, PullBodyBytes(2, counts[0] + counts[1]));
  int64_t* ids = WritePullCounts(frame, counts);
  for (uint32_t i = 0; i < counts[0] + counts[1]; ++i) ids[i] = input->Take<uint8_t>();
  // With the flag as it stands in the input the ids are not what it says.
  if ((header.flags & FrameHeader::kShortIds) != 0) return frame;
  return Pack(std::move(frame));
}

Bytes Push(FuzzInput* input, FrameHeader header) {
  header.type = MessageType::kPush;
  header.lr = input->Take<int8_t>() / 16.0;
  header.update = input->Take<int8_t>();
  std::string body(size_t{4} * (input->Take<uint8_t>() % kMaxIds), '\0');
  for (char& byte : body) byte = static_cast<char>(input->Take<uint8_t>());
  return MakeFrame(header, body);
}

Bytes AnyBytes(FuzzInput* input) {
  const auto bytes = input->Take<uint8_t>();
  return BytesOf(input->TakeBytes(bytes));
}

// Directories of saves and loads lie in the scratch directory, whatever the input says.
template <typename Request>
Bytes WithDirectory(MessageType type, FrameHeader header, Request request,
                    const std::string& scratch) {
  header.type = type;
  request.set_directory(scratch);
  return MakeFrame(header, request.SerializeAsString());
}

Message NextMessage(FuzzInput* input, const std::string& scratch) {
  const auto kind = input->Take<uint8_t>();
  const auto who = input->Take<uint8_t>();
  FrameHeader header;
  header.sender = who & 3;
  header.step = input->Take<int8_t>();
  header.flags = input->Take<uint8_t>() & 15;
  Message message;
  message.source = (who & 0x80) != 0 ? (who >> 2) % kRanks : static_cast<int>(header.sender);
  switch (kind % 10) {
    case 0:
      header.type = MessageType::kConfigure;
      message.body = MakeFrame(header, Plan(input).SerializeAsString());
      break;
    case 1:
      header.type = MessageType::kConfigure;
      message.body = MakeFrame(header, WrongPlan(input).SerializeAsString());
      break;
    case 2:
    case 3:
      message.body = Pull(input, header);
      break;
    case 4:
    case 5:
      message.body = Push(input, header);
      break;
    case 6: {
      wire::SaveRequest request;
      request.set_step(header.step);
      message.body = WithDirectory(MessageType::kSave, header, request, scratch + "/saved");
      break;
    }
    case 7: {
      wire::LoadRequest request;
      request.set_finished_steps(header.step);
      request.set_with_state((header.flags & 1) != 0);
      message.body = WithDirectory(MessageType::kLoad, header, request, scratch + "/loaded");
      break;
    }
    // Any header, any body: of a save or load the body is no message that names a directory.
    case 8: {
      header.type = static_cast<MessageType>(input->Take<uint8_t>() % 12);
      if (header.type == MessageType::kSave || header.type == MessageType::kLoad) {
        header.type = MessageType::kStats;
      }
      header.table_count = input->Take<uint32_t>();
      header.exponent = input->Take<int32_t>();
      header.step = input->Take<int64_t>();
      const auto bytes = input->Take<uint8_t>();
      message.body = MakeFrame(header, input->TakeBytes(bytes));
      break;
    }
    default:
      message.body = AnyBytes(input);
      break;
  }
  return message;
}

// The rows of two tables after a step, saved by a server and named by a manifest.
void SaveRows(const std::string& directory) {
  Expect(MakeDirectories(directory).ok(), "a directory for the rows");
  const Status ran = RunRanks(2, {}, [&](int rank, Transport* transport) -> Status {
    if (rank == 1) return Server(transport).Run();
    TestWorker worker(transport, 0, {1}, TwoTablePlan(SparseOptimizerKind::kAdagrad, 1));
    const TableIds ids = {{1, 2, 3}, {4}};
    PEPNET_RETURN_IF_ERROR(worker.Configure());
    PEPNET_RETURN_IF_ERROR(worker.SendPull(1, ids));
    PEPNET_RETURN_IF_ERROR(worker.ReceiveRows(ids).status());
    PEPNET_RETURN_IF_ERROR(worker.SendPush(
        1, ids, [](size_t, int64_t, int) { return 0.5f; }, 0.1));
    wire::SaveRequest request;
    request.set_directory(directory);
    request.set_step(1);
    PEPNET_ASSIGN_OR_RETURN(const auto replies,
                            worker.Call(MessageType::kSave, request.SerializeAsString()));
    wire::SaveReply reply;
    if (!reply.ParseFromString(replies[0])) return absl::InternalError("no SaveReply");
    Manifest manifest;
    manifest.step = 1;
    PEPNET_ASSIGN_OR_RETURN(manifest.parts, PartEntriesFromJson(reply.parts_json()));
    PEPNET_ASSIGN_OR_RETURN(const std::string text, ManifestToText(manifest));
    PEPNET_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(directory, "/", kManifestName), text));
    return worker.Call(MessageType::kShutdown, "").status();
  });
  Expect(ran.ok(), ran.ToString().c_str());
}

// The directory that saves go to and loads come from.
class Scratch {
 public:
  Scratch() { SaveRows(path() + "/loaded"); }
  const std::string& path() const { return directory_.path(); }

 private:
  const TemporaryDirectory directory_;
};

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  FLAGS_minloglevel = google::GLOG_FATAL;
  static const Scratch kScratch;
  FuzzInput input(data, size);
  std::deque<Message> script;
  while (!input.empty() && script.size() < kMaxMessages) {
    script.push_back(NextMessage(&input, kScratch.path()));
  }
  const std::string saved = kScratch.path() + "/saved";
  Expect(MakeDirectories(saved).ok(), "a directory for what is saved");
  ScriptedTransport transport(kServer, kRanks, std::move(script));
  {
    Server server(&transport);
    ExpectClear(server.Run());
  }
  Expect(RemoveTree(saved).ok(), "what was saved can be removed");
  return 0;
}
