// Matrix products and convolutions on a graphics card. The arithmetic is that of cuda_steps.h, the tiles are
// those of cuda_tile.h. Plain C interface.
#include "cuda_tile.h"

namespace fmaq {
namespace {

#ifdef __CUDACC__
// What the card can do at most: FMAs that wait for nothing but the one before in their chain.
constexpr int CHAINS = 16;
__global__ void __launch_bounds__(THREADS) chain(float* out, int64_t steps, float factor) {
    float v[CHAINS], sum = 0;
    FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) v[i] = static_cast<float>(threadIdx.x + i);
    for (int64_t step = 0; step < steps; step++)
        FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) v[i] = fmaf(v[i], factor, factor);
    FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) sum += v[i];
    out[int64_t(blockIdx.x) * THREADS + threadIdx.x] = sum;
}
#endif

template <class S, int R, int C>
int launch_sums(const fmaq_cuda_job& job, void* stream) {
    using T = Thread<S, R, C>;
    return launch<T>(typename T::Grid(job, S(job), 0), stream);
}

// Small tiles where large ones would leave processors without work, narrow ones where columns are few.
template <class S>
int launch_sized(const fmaq_cuda_job& job, void* stream) {
    const int64_t large = job.batch * ratio_up(job.m, 8 * SIDE) * ratio_up(job.n, 4 * SIDE);
    if (large < job.processors) return launch_sums<S, 2, 2>(job, stream);
    if (job.n <= SIDE) return launch_sums<S, 8, 1>(job, stream);
    if (job.n <= 2 * SIDE) return launch_sums<S, 8, 2>(job, stream);
    return launch_sums<S, 8, 4>(job, stream);
}

int dispatch(const fmaq_cuda_job& job, void* stream) {
    const bool words = job.lane_product.way == W_SR || job.lane_inner.way == W_SR;
    switch (job.path) {
        case 0: return launch_sums<Integers, 1, 1>(job, stream);
        case 1:
            switch (job.lane_inner.way) {
                case W_SUM: return launch_sized<Whole<false>>(job, stream);
                case W_WHOLE: return launch_sized<Whole<true>>(job, stream);
                case W_RZ: case W_RNE: case W_SR:
                    return words ? launch_sums<Rounded<true>, 4, 2>(job, stream) : launch_sums<Rounded<false>, 4, 4>(job, stream);
                default: return launch_sums<Fixed, 4, 4>(job, stream);
            }
        case 2: return launch_sums<Sums, 4, 4>(job, stream);
        default:
            if (job.lane_product.way == W_NONE) return launch_sized<Top<W_NONE, 0>>(job, stream);
            if (job.underflows) return launch_sized<Top<W_RZ, 2>>(job, stream);
            if (job.lane_inner.scale != 1) return launch_sized<Top<W_RZ, 1>>(job, stream);
            return launch_sized<Top<W_RZ, 0>>(job, stream);
    }
}

}  // namespace
}  // namespace fmaq

extern "C" const int64_t fmaq_cuda_job_size = sizeof(fmaq_cuda_job);

extern "C" {

// Returns a cudaError_t.
int fmaq_cuda_run(const fmaq_cuda_job* job, void* stream) {
    return fmaq::dispatch(*job, stream);
}

#ifdef __CUDACC__
// Starts blocks * 4096 chains of so many FMAs; out[blocks * 256]. Returns a cudaError_t.
int fmaq_cuda_chain(float* out, int blocks, int64_t steps, void* stream) {
    fmaq::chain<<<blocks, fmaq::THREADS, 0, static_cast<cudaStream_t>(stream)>>>(out, steps, 0.5f);
    return cudaGetLastError();
}
#endif

const char* fmaq_cuda_error([[maybe_unused]] int error) {
#ifdef __CUDACC__
    return cudaGetErrorString(static_cast<cudaError_t>(error));
#else
    return "";
#endif
}
}
