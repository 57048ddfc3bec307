// Gradients of a tile from those of its outputs: products with the terms whose bits are not set left out. float32, by
// vectors where the instruction set has masks, else by loops.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace fmaq {
namespace {

// Gradients of a tile's outputs, and its operands, for all places k.
template <int ROWS, int WIDTH>
struct MaskedTile {
    const float* grad;     // [ROWS][WIDTH], 0 past the end of either
    const float* rows;     // [k][ROWS]
    const float* lanes;    // [k][WIDTH]
    const uint8_t* bits;   // [k][ROWS] words of WIDTH bits
};

template <int WIDTH>
inline uint64_t bits_at(const uint8_t* bits, int64_t word) {
    uint64_t found = 0;
    std::memcpy(&found, bits + word * (WIDTH / 8), WIDTH / 8);
    return found;
}

#if defined(__AVX512F__)

template <int WIDTH>
inline __mmask16 mask_at(const uint8_t* bits, int64_t word, int v) {
    if constexpr (WIDTH == 8) return bits[word];
    uint16_t found;
    std::memcpy(&found, bits + word * (WIDTH / 8) + 2 * v, 2);
    return found;
}

template <int WIDTH>
inline __m512 load_lanes(const float* from, int v) {
    if constexpr (WIDTH == 8) return _mm512_maskz_loadu_ps(0xff, from);
    return _mm512_loadu_ps(from + 16 * v);
}

template <int WIDTH>
constexpr int LANE_VECTORS = WIDTH < 16 ? 1 : WIDTH / 16;

// of_lanes[k][WIDTH] += sum over rows of grad * row, for k from..to-1.
template <int ROWS, int WIDTH, bool MASKED>
void add_to_lanes(const MaskedTile<ROWS, WIDTH>& t, int64_t from, int64_t to, float* of_lanes) {
    constexpr int N = LANE_VECTORS<WIDTH>;
    __m512 grad[ROWS][N];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < N; v++) grad[r][v] = load_lanes<WIDTH>(t.grad + r * WIDTH, v);
    for (int64_t k = from; k < to; k++) {
        __m512 sum[N];
        float* to_lanes = of_lanes + k * WIDTH;
#pragma GCC unroll 2
        for (int v = 0; v < N; v++) sum[v] = load_lanes<WIDTH>(to_lanes, v);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const __m512 x = _mm512_set1_ps(t.rows[k * ROWS + r]);
#pragma GCC unroll 2
            for (int v = 0; v < N; v++) {
                if constexpr (MASKED)
                    sum[v] = _mm512_mask3_fmadd_ps(grad[r][v], x, sum[v], mask_at<WIDTH>(t.bits, k * ROWS + r, v));
                else
                    sum[v] = _mm512_fmadd_ps(grad[r][v], x, sum[v]);
            }
        }
        for (int v = 0; v < N; v++)
            if constexpr (WIDTH == 8) _mm512_mask_storeu_ps(to_lanes, 0xff, sum[v]);
            else _mm512_storeu_ps(to_lanes + 16 * v, sum[v]);
    }
}

// The sums of 16 vectors.
inline __m512 sums_of(const __m512* v) {
    __m512 pair[8], four[4], half[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        pair[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m512d a = _mm512_castps_pd(pair[2 * i]), b = _mm512_castps_pd(pair[2 * i + 1]);
        four[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        half[i] = _mm512_add_ps(_mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0x44),
                                _mm512_shuffle_f32x4(four[2 * i], four[2 * i + 1], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(half[0], half[1], 0x88), _mm512_shuffle_f32x4(half[0], half[1], 0xdd));
}

// of_rows[r][j] = sum over lanes of grad * lane, for 16 places from k on, those from `to` on excepted.
template <int ROWS, int WIDTH, bool MASKED>
void row_sums(const MaskedTile<ROWS, WIDTH>& t, int64_t k, int64_t to, float* of_rows) {
    constexpr int N = LANE_VECTORS<WIDTH>;
    const int count = to - k < 16 ? static_cast<int>(to - k) : 16;
    for (int r = 0; r < ROWS; r++) {
        __m512 grad[N], sum[16];
#pragma GCC unroll 2
        for (int v = 0; v < N; v++) grad[v] = load_lanes<WIDTH>(t.grad + r * WIDTH, v);
        const auto term = [&](int j) {
            const int64_t at = k + j;
            __m512 s = _mm512_setzero_ps();
#pragma GCC unroll 2
            for (int v = 0; v < N; v++) {
                const __m512 w = load_lanes<WIDTH>(t.lanes + at * WIDTH, v);
                if constexpr (MASKED) s = _mm512_mask3_fmadd_ps(grad[v], w, s, mask_at<WIDTH>(t.bits, at * ROWS + r, v));
                else s = _mm512_fmadd_ps(grad[v], w, s);
            }
            return s;
        };
        if (count == 16) {
#pragma GCC unroll 16
            for (int j = 0; j < 16; j++) sum[j] = term(j);
        } else {
            for (int j = 0; j < 16; j++) sum[j] = j < count ? term(j) : _mm512_setzero_ps();
        }
        _mm512_storeu_ps(of_rows + 16 * r, sums_of(sum));
    }
}

#else

template <int WIDTH>
inline void picked(const float* grad, uint64_t bits, float* out) {
    for (int j = 0; j < WIDTH; j++) {
        uint32_t number;
        std::memcpy(&number, grad + j, 4);
        number &= static_cast<uint32_t>(-static_cast<int32_t>(static_cast<uint32_t>(bits) >> j & 1));
        std::memcpy(out + j, &number, 4);
    }
}

template <int ROWS, int WIDTH, bool MASKED>
void add_to_lanes(const MaskedTile<ROWS, WIDTH>& t, int64_t from, int64_t to, float* of_lanes) {
    alignas(64) float grad[WIDTH];
    for (int64_t k = from; k < to; k++)
        for (int r = 0; r < ROWS; r++) {
            const float x = t.rows[k * ROWS + r];
            const float* g = t.grad + r * WIDTH;
            if constexpr (MASKED) {
                picked<WIDTH>(g, bits_at<WIDTH>(t.bits, k * ROWS + r), grad);
                g = grad;
            }
            for (int j = 0; j < WIDTH; j++) of_lanes[k * WIDTH + j] += g[j] * x;
        }
}

template <int ROWS, int WIDTH, bool MASKED>
void row_sums(const MaskedTile<ROWS, WIDTH>& t, int64_t k, int64_t to, float* of_rows) {
    const int count = to - k < 16 ? static_cast<int>(to - k) : 16;
    alignas(64) float grad[WIDTH], sum[8];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < count; j++) {
            const float *g = t.grad + r * WIDTH, *w = t.lanes + (k + j) * WIDTH;
            if constexpr (MASKED) {
                picked<WIDTH>(g, bits_at<WIDTH>(t.bits, (k + j) * ROWS + r), grad);
                g = grad;
            }
            for (float& s : sum) s = 0;
            for (int i = 0; i < WIDTH; i += 8)
                for (int s = 0; s < 8; s++) sum[s] += g[i + s] * w[i + s];
            of_rows[16 * r + j] = ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
        }
}

#endif

}  // namespace
}  // namespace fmaq
