// Messages that the other ranks of a job may send to a worker: answers of servers, parts of
// collectives, descriptions of ranks. The first byte chooses who listens; then each message is a
// byte for its form and what that form takes.
#include <atomic>

#include "common/base/logging.h"
#include "common/health/start_check.h"
#include "common/net/collective.h"
#include "common/net/packing.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/scripted_transport.h"
#include "worker/sparse/ps_client.h"

namespace pepnet {
namespace {

constexpr size_t kMaxMessages = 32;

JobConfig TwoTables() {
  JobConfig config;
  config.tables = {{"user", 1000, 3, {}, true}, {"item", 50, 2, {}, true}};
  config.train.sparse_optimizer.kind = SparseOptimizerKind::kSgd;
  return config;
}

Bytes Frame(FuzzInput* input) {
  FrameHeader header;
  header.type = static_cast<MessageType>(1 + input->Take<uint8_t>() % 10);
  header.flags = input->Take<uint8_t>();
  header.step = input->Take<int8_t>();
  header.exponent = input->Take<int8_t>();
  const auto bytes = input->Take<uint8_t>();
  return MakeFrame(header, input->TakeBytes(bytes));
}

// A part of a collective: the header that common/net/collective.cc draws, for the call `what`, with
// any payload.
Bytes Part(FuzzInput* input, const std::string& what) {
  struct {
    uint32_t magic = 0x43504550, operation;
    uint64_t sequence, elements, what_bytes;
  } header;
  header.operation = input->Take<uint8_t>() % 9;
  header.sequence = input->Take<uint8_t>() % 4;
  header.elements = input->Take<uint8_t>();
  header.what_bytes = what.size() + static_cast<uint64_t>(input->Take<int8_t>());
  std::string message(reinterpret_cast<const char*>(&header), sizeof(header));
  message += what;
  message.resize((message.size() + 63) / 64 * 64, '\0');
  const auto bytes = input->Take<uint8_t>();
  return BytesOf(message + input->TakeBytes(bytes));
}

Bytes NextMessage(FuzzInput* input, const std::string& what) {
  switch (input->Take<uint8_t>() % 3) {
    case 0:
      return Frame(input);
    case 1:
      return Part(input, what);
    default: {
      const auto bytes = input->Take<uint8_t>();
      return BytesOf(input->TakeBytes(bytes));
    }
  }
}

void AskServers(Transport* transport) {
  static const JobConfig kConfig = TwoTables();
  PsClient client(transport, &kConfig, {1, 2}, 0, /*timeout_s=*/1, /*phase_timeout_s=*/1);
  ExpectClear(client.Configure({0}, 1, 0));
  UniqueIds ids;
  ids.ids = {{1, 2, 3, 4}, {7, 8}};
  for (int64_t step = 1; step <= 2; ++step) {
    const auto ticket = client.StartPull(ids, step, /*read_only=*/step == 2);
    Expect(ticket.ok(), "a pull can be sent");
    std::vector<AlignedBuffer<float>> rows;
    const Status pulled = client.FinishPull(*ticket, &rows);
    ExpectClear(pulled);
    Expect(!pulled.ok() || (rows.size() == 2 && rows[0].size() == 12 && rows[1].size() == 4),
           "rows of the ids");
  }
  ExpectClear(client.Stats().status());
  const std::atomic<bool> cancelled = false;
  ExpectClear(client.FinishSave(1, cancelled).status());
  ExpectClear(client.Shutdown());
}

void AskWorkers(Transport* transport, const std::string& what) {
  const auto workers = MakeCollective(transport, Channel::kControl, {0, 1, 2}, /*timeout_s=*/1);
  std::vector<float> floats(5, 1.0f);
  ExpectClear(workers->AllreduceSum(std::span<float>(floats), what));
  std::vector<int64_t> many(3000, 1);
  ExpectClear(workers->AllreduceSum(std::span<int64_t>(many), what));
  ExpectClear(workers->Allgather("mine", what).status());
  ExpectClear(workers->Barrier(what));
}

void TakeApart(Bytes bytes) {
  ExpectClear(ParseHeader(bytes).status());
  const StatusOr<ParsedFrame> frame = Unpack(std::move(bytes));
  ExpectClear(frame.status());
  if (!frame.ok()) return;
  const StatusOr<PullBody> pull = ParsePull(*frame);
  int64_t sum = 0;
  if (pull.ok()) {
    for (const int64_t id : pull->ids) sum ^= id;
  }
  if (frame->header().type == MessageType::kError) {
    Expect(!ParseErrorFrame(*frame).ok(), "an error frame is an error");
  }
  Expect(sum == 0 || pull.ok(), "ids of a pull");
}

}  // namespace
}  // namespace pepnet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pepnet;
  FLAGS_minloglevel = google::GLOG_FATAL;
  FuzzInput input(data, size);
  const auto choice = input.Take<uint8_t>() % 4;
  const std::string what = choice == 2 ? "check of all ranks before the start" : "a sum";
  std::deque<Message> script;
  while (!input.empty() && script.size() < kMaxMessages) {
    Message message;
    message.source = static_cast<int>(script.size() % 3);
    message.body = NextMessage(&input, what);
    script.push_back(std::move(message));
  }
  if (choice == 3) {
    for (Message& message : script) TakeApart(std::move(message.body));
    return 0;
  }
  ScriptedTransport transport(0, 3, std::move(script));
  switch (choice) {
    case 0:
      AskServers(&transport);
      break;
    case 1:
      AskWorkers(&transport, what);
      break;
    default: {
      RankInfo mine;
      mine.host = "h";
      mine.role = "worker 0";
      const Layout layout{{0, 1}, {2}, Role::kWorker, 0, false};
      ExpectClear(CheckStart(&transport, layout, mine).status());
      break;
    }
  }
  return 0;
}
