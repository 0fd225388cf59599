#include "common/expression/function.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace pepnet {
namespace {

using Cells = std::span<const std::span<const double>>;
using Values = std::span<const double>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// The mean radius of the Earth.
constexpr double kEarthRadiusKm = 6371.0;
constexpr int kAny = ExpressionFunction::kAny;

// ---- of single values ----

constexpr double Truth(bool value) { return value ? 1 : 0; }

double Sign(double x) { return std::isnan(x) ? x : x > 0 ? 1 : x < 0 ? -1 : 0; }

// Neither branch overflows.
double Sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double e = std::exp(x);
  return e / (1 + e);
}

// Negative digits round to tens, hundreds and so on.
double RoundTo(double x, double digits) {
  const double scale = std::pow(10.0, digits);
  return std::round(x * scale) / scale;
}

// Bits of the whole parts; numbers beyond 64 bits have none.
template <typename Combine>
double Bits(double x, double y, Combine combine) {
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (!(std::abs(x) < kLimit) || !(std::abs(y) < kLimit)) return kNaN;
  return static_cast<double>(combine(static_cast<int64_t>(x), static_cast<int64_t>(y)));
}

double Radians(double degrees) { return degrees * std::numbers::pi / 180; }

// args: longitude and latitude of two places, in degrees. Kilometres.
double Haversine(const double* args, size_t) {
  const double lat1 = Radians(args[1]), lat2 = Radians(args[3]);
  const double half_lat = std::sin((lat2 - lat1) / 2),
               half_lng = std::sin(Radians(args[2] - args[0]) / 2);
  const double h = half_lat * half_lat + std::cos(lat1) * std::cos(lat2) * half_lng * half_lng;
  return 2 * kEarthRadiusKm * std::asin(std::sqrt(std::min(1.0, h)));
}

double Sum(Values x) {
  double sum = 0;
  for (const double value : x) sum += value;
  return sum;
}

// A value that is no number makes the result none.
template <typename Better>
double Best(Values x, Better better) {
  double best = x[0];
  for (const double value : x) {
    if (std::isnan(value)) return value;
    if (better(value, best)) best = value;
  }
  return best;
}
double Least(Values x) {
  return Best(x, [](double a, double b) { return a < b; });
}
double Greatest(Values x) {
  return Best(x, [](double a, double b) { return a > b; });
}

// ---- of cells ----

double Dot(Values x, Values y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

double Mean(Values x) { return Sum(x) / static_cast<double>(x.size()); }

// Sum of the squared distances from the mean over `divisor`.
double Variance(Values x, size_t divisor) {
  const double mean = Mean(x);
  double sum = 0;
  for (const double value : x) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(divisor);
}

// The two cells have one length here and below: ComputeCells() has filled the shorter one.
double Distance(Values x, Values y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

// Pearson's: the covariance over the root of the variances' product, whose divisors cancel. 0/0 of
// a constant cell is NaN.
double Correlation(Values x, Values y) {
  const double mean_x = Mean(x), mean_y = Mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
  }
  return xy / std::sqrt(xx * yy);
}

double Product(Values x) {
  double product = 1;
  for (const double value : x) product *= value;
  return product;
}

// ---- the tables ----

// The templates below turn a formula into the one signature that the tables hold, without an
// allocation or a lambda per call.
template <double (*kFormula)(double)>
double OfOne(const double* args, size_t) {
  return kFormula(args[0]);
}
template <double (*kFormula)(double, double)>
double OfTwo(const double* args, size_t) {
  return kFormula(args[0], args[1]);
}
template <double (*kFormula)(Values)>
double OfAll(const double* args, size_t count) {
  return kFormula({args, count});
}
template <double (*kFormula)(Values)>
double OfCell(Cells cells) {
  return kFormula(cells[0]);
}
template <double (*kFormula)(Values, Values)>
double OfCells(Cells cells) {
  return kFormula(cells[0], cells[1]);
}

// Name, number of arguments, formula of values or of cells, what it computes in words, and the ONNX
// operator where one computes the same in double.
constexpr ExpressionFunction kFunctions[] = {
    {"isnan", 1, OfOne<[](double x) { return Truth(std::isnan(x)); }>, nullptr,
     "1 if x is no number, else 0", "IsNaN"},
    {"sin", 1, OfOne<[](double x) { return std::sin(x); }>, nullptr, "sine, of radians", "Sin"},
    {"cos", 1, OfOne<[](double x) { return std::cos(x); }>, nullptr, "cosine", "Cos"},
    {"tan", 1, OfOne<[](double x) { return std::tan(x); }>, nullptr, "tangent"},
    {"asin", 1, OfOne<[](double x) { return std::asin(x); }>, nullptr, "inverse sine"},
    {"acos", 1, OfOne<[](double x) { return std::acos(x); }>, nullptr, "inverse cosine"},
    {"atan", 1, OfOne<[](double x) { return std::atan(x); }>, nullptr, "inverse tangent"},
    {"sinh", 1, OfOne<[](double x) { return std::sinh(x); }>, nullptr, "hyperbolic sine"},
    {"cosh", 1, OfOne<[](double x) { return std::cosh(x); }>, nullptr, "hyperbolic cosine"},
    {"tanh", 1, OfOne<[](double x) { return std::tanh(x); }>, nullptr, "hyperbolic tangent",
     "Tanh"},
    {"asinh", 1, OfOne<[](double x) { return std::asinh(x); }>, nullptr, "inverse hyperbolic sine"},
    {"acosh", 1, OfOne<[](double x) { return std::acosh(x); }>, nullptr,
     "inverse hyperbolic cosine"},
    {"atanh", 1, OfOne<[](double x) { return std::atanh(x); }>, nullptr,
     "inverse hyperbolic tangent"},
    {"log2", 1, OfOne<[](double x) { return std::log2(x); }>, nullptr, "logarithm to the base 2"},
    {"log10", 1, OfOne<[](double x) { return std::log10(x); }>, nullptr,
     "logarithm to the base 10"},
    {"log", 1, OfOne<[](double x) { return std::log(x); }>, nullptr, "natural logarithm", "Log"},
    {"ln", 1, OfOne<[](double x) { return std::log(x); }>, nullptr, "natural logarithm", "Log"},
    {"exp", 1, OfOne<[](double x) { return std::exp(x); }>, nullptr, "e to the power of x", "Exp"},
    {"sqrt", 1, OfOne<[](double x) { return std::sqrt(x); }>, nullptr, "square root", "Sqrt"},
    {"sign", 1, OfOne<Sign>, nullptr, "-1, 0 or 1", "Sign"},
    {"abs", 1, OfOne<[](double x) { return std::abs(x); }>, nullptr, "absolute value", "Abs"},
    {"rint", 1, OfOne<[](double x) { return std::nearbyint(x); }>, nullptr,
     "nearest whole number; halves to the even one", "Round"},
    {"floor", 1, OfOne<[](double x) { return std::floor(x); }>, nullptr,
     "largest whole number that is not above x", "Floor"},
    {"ceil", 1, OfOne<[](double x) { return std::ceil(x); }>, nullptr,
     "smallest whole number that is not below x", "Ceil"},
    {"trunc", 1, OfOne<[](double x) { return std::trunc(x); }>, nullptr, "whole part"},
    {"round", 1, OfOne<[](double x) { return std::round(x); }>, nullptr,
     "nearest whole number; halves away from 0"},
    {"roundp", 2, OfTwo<RoundTo>, nullptr, "x rounded to y digits behind the point, as round"},
    {"mod", 2, OfTwo<[](double x, double y) { return std::fmod(x, y); }>, nullptr,
     "remainder of x / y, with the sign of x"},
    {"sigmoid", 1, OfOne<Sigmoid>, nullptr, "1 / (1 + exp(-x))", "Sigmoid"},
    {"sphere_dist", 4, Haversine, nullptr, "the same as haversine"},
    {"haversine", 4, Haversine, nullptr,
     "distance in km on a sphere of radius 6371 km of two places, each its longitude and latitude "
     "in degrees"},
    {"min", kAny, OfAll<Least>, nullptr, "least of the arguments", "Min"},
    {"max", kAny, OfAll<Greatest>, nullptr, "greatest of the arguments", "Max"},
    {"sum", kAny, OfAll<Sum>, nullptr, "sum of the arguments", "Sum"},
    {"avg", kAny, OfAll<Mean>, nullptr, "mean of the arguments"},
    {"len", 1, nullptr, OfCell<[](Values x) { return static_cast<double>(x.size()); }>,
     "number of values"},
    {"l2_norm", 1, nullptr, OfCell<[](Values x) { return std::sqrt(Dot(x, x)); }>,
     "square root of the sum of squares"},
    {"squared_norm", 1, nullptr, OfCell<[](Values x) { return Dot(x, x); }>, "sum of squares"},
    {"dot", 2, nullptr, OfCells<Dot>, "sum of products"},
    {"euclid_dist", 2, nullptr, OfCells<Distance>, "Euclidean distance"},
    {"corr", 2, nullptr, OfCells<Correlation>, "Pearson's correlation"},
    {"std_dev", 1, nullptr, OfCell<[](Values x) { return std::sqrt(Variance(x, x.size())); }>,
     "standard deviation, over n"},
    {"pop_std_dev", 1, nullptr,
     OfCell<[](Values x) { return std::sqrt(Variance(x, x.size() - 1)); }>,
     "standard deviation, over n - 1"},
    {"variance", 1, nullptr, OfCell<[](Values x) { return Variance(x, x.size()); }>,
     "variance, over n"},
    {"pop_variance", 1, nullptr, OfCell<[](Values x) { return Variance(x, x.size() - 1); }>,
     "variance, over n - 1"},
    {"reduce_min", 1, nullptr, OfCell<Least>, "least value"},
    {"reduce_max", 1, nullptr, OfCell<Greatest>, "greatest value"},
    {"reduce_sum", 1, nullptr, OfCell<Sum>, "sum of the values"},
    {"reduce_mean", 1, nullptr, OfCell<Mean>, "mean of the values"},
    {"reduce_prod", 1, nullptr, OfCell<Product>, "product of the values"},
};

// In the order of ExpressionOperator.
constexpr ExpressionFunction kOperators[] = {
    {"||", 2, OfTwo<[](double x, double y) { return Truth(x != 0 || y != 0); }>, nullptr,
     "1 if x or y is not 0"},
    {"&&", 2, OfTwo<[](double x, double y) { return Truth(x != 0 && y != 0); }>, nullptr,
     "1 if x and y are not 0"},
    {"|", 2, OfTwo<[](double x, double y) {
       return Bits(x, y, [](int64_t a, int64_t b) { return a | b; });
     }>,
     nullptr, "bits of whole parts"},
    {"&", 2, OfTwo<[](double x, double y) {
       return Bits(x, y, [](int64_t a, int64_t b) { return a & b; });
     }>,
     nullptr, "bits of whole parts"},
    {"<=", 2, OfTwo<[](double x, double y) { return Truth(x <= y); }>, nullptr, "", "LessOrEqual"},
    {">=", 2, OfTwo<[](double x, double y) { return Truth(x >= y); }>, nullptr, "",
     "GreaterOrEqual"},
    {"!=", 2, OfTwo<[](double x, double y) { return Truth(x != y); }>, nullptr, ""},
    {"==", 2, OfTwo<[](double x, double y) { return Truth(x == y); }>, nullptr, "", "Equal"},
    {">", 2, OfTwo<[](double x, double y) { return Truth(x > y); }>, nullptr, "", "Greater"},
    {"<", 2, OfTwo<[](double x, double y) { return Truth(x < y); }>, nullptr, "", "Less"},
    {"+", 2, OfTwo<[](double x, double y) { return x + y; }>, nullptr, "", "Add"},
    {"-", 2, OfTwo<[](double x, double y) { return x - y; }>, nullptr, "", "Sub"},
    {"*", 2, OfTwo<[](double x, double y) { return x * y; }>, nullptr, "", "Mul"},
    {"/", 2, OfTwo<[](double x, double y) { return x / y; }>, nullptr, "", "Div"},
    {"^", 2, OfTwo<[](double x, double y) { return std::pow(x, y); }>, nullptr,
     "x to the power of y", "Pow"},
    {"-x", 1, OfOne<[](double x) { return -x; }>, nullptr, "", "Neg"},
    {"?:", 3, [](const double* a, size_t) { return a[0] != 0 ? a[1] : a[2]; }, nullptr,
     "y if x is not 0, else z"},
};

}  // namespace

const ExpressionFunction& OperatorFunction(ExpressionOperator op) {
  return kOperators[static_cast<size_t>(op)];
}

// A linear search will do: formulas are parsed once.
const ExpressionFunction* FindFunction(std::string_view name) {
  for (const ExpressionFunction& function : kFunctions) {
    if (name == function.name) return &function;
  }
  return nullptr;
}

std::vector<std::string> FunctionNames() {
  std::vector<std::string> names;
  for (const ExpressionFunction& function : kFunctions) names.emplace_back(function.name);
  return names;
}

}  // namespace pepnet
