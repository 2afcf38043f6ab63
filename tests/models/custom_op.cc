// An op that no TensorFlow has: three times its input.

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

REGISTER_OP("SalverTriple")
    .Input("x: float")
    .Output("y: float")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(0));
      return absl::OkStatus();
    });

class SalverTriple : public tensorflow::OpKernel {
 public:
  using tensorflow::OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    const tensorflow::Tensor& x = context->input(0);
    tensorflow::Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &y));
    const auto from = x.flat<float>();
    auto to = y->flat<float>();
    for (int64_t i = 0; i < from.size(); ++i) to(i) = 3.0f * from(i);
  }
};

REGISTER_KERNEL_BUILDER(Name("SalverTriple").Device(tensorflow::DEVICE_CPU), SalverTriple);
