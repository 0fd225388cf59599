// DeviceParameters: copies of the dense parameters' two arenas on a device, and the way there and
// back. Internal to this folder: includes torch.
//
// The host's arenas stay the truth: optimizer, clipping, accumulation and checkpoints work on them.
// Per training step the values go up and the gradients come down, one arena each.
//
// Ownership: borrows `parameters`; page-locks the arena of its values.
// Order:     everything is queued on the device's current stream.
#pragma once

#include <ATen/core/Tensor.h>

#include "worker/model/parameters.h"
#include "worker/model/torch/device/transfer.h"
#include "worker/model/torch/layers.h"

namespace pepnet {

class DeviceParameters {
 public:
  DeviceParameters(DenseParameters* parameters, at::Device device);

  // On the device, for leaves; they never move.
  const ParameterArenas& arenas() const { return arenas_; }

  // Copies the values of the host to the device. Must be called before every computation, so no
  // dirty flag is needed. The values must not change before the device is done with the copy.
  void UploadValues();
  void ZeroGradients();

  void DownloadGradients() { gradients_.Download(); }
  // When the device has done that: adds them to the host's.
  void AddGradientsToHost();

 private:
  DenseParameters* const parameters_;
  PinnedMemory pinned_values_;
  at::Tensor values_;   // on the device
  Transfer gradients_;  // one array
  ParameterArenas arenas_;
};

}  // namespace pepnet
