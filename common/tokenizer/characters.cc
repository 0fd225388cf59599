#include "common/tokenizer/characters.h"

#include <algorithm>
#include <iterator>

namespace pepnet {
namespace {

// Characters `first` to `last` of one kind.
struct Range {
  uint32_t first, last;
  CharacterKind kind;
  uint32_t to_lower = 0;  // what the lower case is further on
};

constexpr CharacterKind kWord = CharacterKind::kWord, kOther = CharacterKind::kOther,
                        kBlank = CharacterKind::kBlank;

// In order. tests/common/tokenizer holds each range against the recorded answers of the library.
constexpr Range kRanges[] = {
    {0x00, 0x08, kOther},      {0x09, 0x0d, kBlank},     {0x0e, 0x1f, kOther},
    {0x20, 0x20, kBlank},      {0x21, 0x2f, kOther},     {0x30, 0x39, kWord},
    {0x3a, 0x40, kOther},      {0x41, 0x5a, kWord, 32},  {0x5b, 0x5e, kOther},
    {0x5f, 0x5f, kWord},       {0x60, 0x60, kOther},     {0x61, 0x7a, kWord},
    {0x7b, 0x84, kOther},      {0x85, 0x85, kBlank},     {0x86, 0x9f, kOther},
    {0xa0, 0xa0, kBlank},      {0xa1, 0xa9, kOther},     {0xaa, 0xaa, kWord},
    {0xab, 0xb4, kOther},      {0xb5, 0xb5, kWord},      {0xb6, 0xb9, kOther},
    {0xba, 0xba, kWord},       {0xbb, 0xbf, kOther},     {0xc0, 0xd6, kWord, 32},
    {0xd7, 0xd7, kOther},      {0xd8, 0xde, kWord, 32},  {0xdf, 0xf6, kWord},
    {0xf7, 0xf7, kOther},      {0xf8, 0xff, kWord},      {0x391, 0x3a1, kWord, 32},
    {0x3a3, 0x3a9, kWord, 32}, {0x3b1, 0x3c9, kWord},    {0x400, 0x40f, kWord, 80},
    {0x410, 0x42f, kWord, 32}, {0x430, 0x45f, kWord},    {0x1680, 0x1680, kBlank},
    {0x2000, 0x200a, kBlank},  {0x2010, 0x2027, kOther}, {0x2028, 0x2029, kBlank},
    {0x202f, 0x202f, kBlank},  {0x2030, 0x203e, kOther}, {0x205f, 0x205f, kBlank},
    {0x20a0, 0x20bf, kOther},  {0x3000, 0x3000, kBlank}, {0x3001, 0x3004, kOther},
    {0x3008, 0x3020, kOther},  {0x3041, 0x3096, kWord},  {0x30a1, 0x30fa, kWord},
    {0x30fb, 0x30fb, kOther},  {0x30fc, 0x30ff, kWord},  {0x3400, 0x4dbf, kWord},
    {0x4e00, 0x9fff, kWord},   {0xac00, 0xd7a3, kWord},  {0xff01, 0xff0f, kOther},
    {0xff10, 0xff19, kWord},   {0xff1a, 0xff20, kOther}, {0xff21, 0xff3a, kWord, 32},
    {0xff3b, 0xff3e, kOther},  {0xff3f, 0xff3f, kWord},  {0xff40, 0xff40, kOther},
    {0xff41, 0xff5a, kWord},   {0xff5b, 0xff65, kOther}, {0x1f300, 0x1f64f, kOther},
};

}  // namespace

// Decodes strictly: overlong forms, halves of UTF-16 pairs and codes beyond Unicode are no
// characters.
std::optional<Character> FirstCharacter(std::string_view text) {
  const auto byte = [text](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const size_t length = byte(0) < 0x80   ? 1
                        : byte(0) < 0xc2 ? 0
                        : byte(0) < 0xe0 ? 2
                        : byte(0) < 0xf0 ? 3
                                         : 4;
  if (length == 0 || byte(0) > 0xf4 || text.size() < length) return std::nullopt;
  // The bits of the first byte that are part of the code, by length of the character.
  constexpr uint32_t kFirstBits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};  // a smaller code has a shorter form
  uint32_t code = byte(0) & kFirstBits[length];
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    code = (code << 6) | (byte(i) & 0x3f);
  }
  if (code < kLeast[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
    return std::nullopt;
  }
  Character character{code, CharacterKind::kUnknown, std::nullopt, text.substr(0, length)};
  // Characters between the ranges are not known, and are refused: the library's answer for them was
  // not recorded, and a guess could give other ids than in training.
  const auto* const range =
      std::lower_bound(std::begin(kRanges), std::end(kRanges), code,
                       [](const Range& one, uint32_t wanted) { return one.last < wanted; });
  if (range == std::end(kRanges) || code < range->first) return character;
  character.kind = range->kind;
  character.lower = code + range->to_lower;
  return character;
}

// Precondition: a code point of Unicode.
void AppendUtf8(uint32_t code, std::string* out) {
  const auto add = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xc0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      add(0xe0 | (code >> 12));
    } else {
      add(0xf0 | (code >> 18));
      add(0x80 | ((code >> 12) & 0x3f));
    }
    add(0x80 | ((code >> 6) & 0x3f));
  }
  add(0x80 | (code & 0x3f));
}

}  // namespace pepnet
