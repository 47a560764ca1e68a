/* swiglu.cu - SWIGLU and its gradient (Shazeer 2020): y = gate * sigmoid(gate) * up. */
#include "layout.cuh"

namespace {

constexpr int THREADS = 256;

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* out[0] = y from in = gate, up. */
struct forward {
  static constexpr int OUTPUTS = 1, INPUTS = 2;
  static __device__ __forceinline__ void apply(float *out, const float *in) { out[0] = in[0] * sigmoid(in[0]) * in[1]; }
};

/* out = dgate, dup from in = dy, gate, up. */
struct backward {
  static constexpr int OUTPUTS = 2, INPUTS = 3;
  static __device__ __forceinline__ void apply(float *out, const float *in) {
    float s = sigmoid(in[1]);
    out[0] = in[0] * in[2] * s * (1.0f + in[1] * (1.0f - s));
    out[1] = in[0] * in[1] * s;
  }
};

/* Outputs first, then inputs. An absent output has no data and looks like an input. */
template <int N> struct operands {
  layout<N> at;
  void *data[N];
  uint32_t dtype[N];
};

/* Rows of one dtype, a vector of 16 bytes at a time. An output may be an input: a thread
 * reads all it needs before it writes. */
template <typename OP, typename T> __global__ void __launch_bounds__(THREADS) vector_kernel(operands<OP::OUTPUTS + OP::INPUTS> o) {
  constexpr int WIDTH = 16 / sizeof(T), N = OP::OUTPUTS + OP::INPUTS;
  uint32_t row_vectors = (uint32_t)(o.at.shape[o.at.rank - 1] / WIDTH), vectors = (uint32_t)(o.at.count / WIDTH);
  for (uint32_t i = blockIdx.x * THREADS + threadIdx.x; i < vectors; i += gridDim.x * THREADS) {
    uint32_t row = i / row_vectors, column = (i - row * row_vectors) * WIDTH;
    vec<T, WIDTH> x[N];
#pragma unroll
    for (int k = OP::OUTPUTS; k < N; k++) x[k] = load_vec<T, WIDTH>((const T *)o.data[k] + row * o.at.stride[k][0] + column);
#pragma unroll
    for (int e = 0; e < WIDTH; e++) {
      float in[OP::INPUTS], out[OP::OUTPUTS];
#pragma unroll
      for (int k = 0; k < OP::INPUTS; k++) in[k] = to_f32(x[OP::OUTPUTS + k].v[e]);
      OP::apply(out, in);
#pragma unroll
      for (int k = 0; k < OP::OUTPUTS; k++) x[k].v[e] = from_f32<T>(out[k]);
    }
#pragma unroll
    for (int k = 0; k < OP::OUTPUTS; k++)
      if (o.data[k]) store_vec<T, WIDTH>((T *)o.data[k] + row * o.at.stride[k][0] + column, x[k]);
  }
}

/* Any strides and dtypes. */
template <typename OP> __global__ void __launch_bounds__(THREADS) element_kernel(operands<OP::OUTPUTS + OP::INPUTS> o) {
  for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < o.at.count; i += (int64_t)gridDim.x * THREADS) {
    float in[OP::INPUTS], out[OP::OUTPUTS];
#pragma unroll
    for (int k = 0; k < OP::INPUTS; k++) in[k] = load_value(o.data[OP::OUTPUTS + k], o.dtype[OP::OUTPUTS + k], o.at.offset(OP::OUTPUTS + k, i));
    OP::apply(out, in);
#pragma unroll
    for (int k = 0; k < OP::OUTPUTS; k++)
      if (o.data[k]) store_value(o.data[k], o.dtype[k], o.at.offset(k, i), out[k]);
  }
}

template <int N> int fits_vectors(const operands<N> &o) {
  int width = (int)(16 / float_bytes(o.dtype[0]));
  for (int k = 0; k < N; k++)
    if (o.dtype[k] != o.dtype[0] || !is_aligned16(o.data[k])) return 0;
  return has_vectors(o.at, width) && o.at.count / width <= INT32_MAX;
}

template <typename OP> int32_t run(const struct call *call, char *text, uint64_t bytes) {
  constexpr int N = OP::OUTPUTS + OP::INPUTS;
  const struct view *views[N];
  operands<N> o;
  for (int k = 0; k < N; k++) {
    const struct view *view = k < OP::OUTPUTS ? &call->out[k] : &call->in[k - OP::OUTPUTS];
    views[k] = view->present ? view : &call->in[0];
    o.data[k] = view->present ? view->data : nullptr;
    o.dtype[k] = views[k]->dtype;
  }
  o.at = layout_of<N>(views, views[0]->rank);
  if (o.at.count == 0) return TRAINER_OK;
  if (fits_vectors(o))
    WITH_FLOAT(T, o.dtype[0], (vector_kernel<OP, T><<<grid_of(call->gpu, o.at.count * (int64_t)sizeof(T) / 16, THREADS), THREADS, 0, call->stream>>>(o)));
  else
    element_kernel<OP><<<grid_of(call->gpu, o.at.count, THREADS), THREADS, 0, call->stream>>>(o);
  return launched(text, bytes);
}

} // namespace

const struct kernel kernel_swiglu = {.op = TRAINER_OP_SWIGLU, .name = "swiglu", .check = check_swiglu, .run = run<forward>};
const struct kernel kernel_swiglu_grad = {.op = TRAINER_OP_SWIGLU_GRAD, .name = "swiglu_grad", .check = check_swiglu_grad, .run = run<backward>};
