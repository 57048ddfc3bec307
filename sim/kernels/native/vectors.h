// Vector types of the processor, 512 or 256 bits, single or double precision, behind one set of names.
// All arithmetic rounds toward zero and flushes subnormal results: the caller has set the mode.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace fmaq {

#if defined(__AVX512F__)

struct Single {
    using T = float;
    using Wide = T;
    static constexpr bool ANY_WAY = true;
    template <int N>
    static void narrow(const Wide* from, T* to) { std::memcpy(to, from, N * sizeof(T)); }
    template <int N>
    static void widen(const T* from, Wide* to) { std::memcpy(to, from, N * sizeof(T)); }
    using I = int32_t;
    using V = __m512;
    static constexpr int W = 16, ROWS = 8, BITS = 24, MIN_EXPONENT = -126;
    static __m512i i(V a) { return _mm512_castps_si512(a); }
    static V f(__m512i a) { return _mm512_castsi512_ps(a); }
    static V load(const T* p) { return _mm512_loadu_ps(p); }
    static void store(T* p, V a) { _mm512_storeu_ps(p, a); }
    static V set(T a) { return _mm512_set1_ps(a); }
    static V seti(I a) { return f(_mm512_set1_epi32(a)); }
    static V add(V a, V b) { return _mm512_add_ps(a, b); }
    static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    static V max(V a, V b) { return _mm512_max_ps(a, b); }
    static V min(V a, V b) { return _mm512_min_ps(a, b); }
    static V and_(V a, V b) { return f(_mm512_and_si512(i(a), i(b))); }
    static V xor_(V a, V b) { return f(_mm512_xor_si512(i(a), i(b))); }
    static V addi(V a, V b) { return f(_mm512_add_epi32(i(a), i(b))); }
    static V subi(V a, V b) { return f(_mm512_sub_epi32(i(a), i(b))); }
    static V maxi(V a, V b) { return f(_mm512_max_epi32(i(a), i(b))); }
    static V mini(V a, V b) { return f(_mm512_min_epi32(i(a), i(b))); }
    static V abs(V a) { return and_(a, seti(0x7fffffff)); }
    static V signed_as(V magnitude, V sign) {
        return f(_mm512_ternarylogic_epi32(i(magnitude), i(sign), _mm512_set1_epi32(INT32_MIN), 0xf8));
    }
    // What tells a magnitude above the power of two that is flushed: any bit but that of its exponent.
    static V flush_test(I kept) { return seti(kept & INT32_MAX & ~(1 << 23)); }
    // The smaller magnitude, with the sign of a.
    static V limit(V a, V max) { return _mm512_range_ps(a, max, 2); }
    // a & keep, or 0 where a & test is 0.
    static V keep_if(V a, V test, V keep) {
        return f(_mm512_maskz_and_epi32(_mm512_test_epi32_mask(i(a), i(test)), i(a), i(keep)));
    }
    // a * b + c, or c where a & test is 0.
    static V fma_if(V a, V test, V b, V c) {
        return _mm512_mask3_fmadd_ps(a, b, c, _mm512_test_epi32_mask(i(a), i(test)));
    }
    // a + low, and one more where the bit is set: nearest even, before the low bits are dropped.
    static V add_odd(V a, V low, V bit, int) {
        const __mmask16 odd = _mm512_test_epi32_mask(i(a), i(bit));
        const __m512i sum = _mm512_add_epi32(i(a), i(low));
        return f(_mm512_mask_sub_epi32(sum, odd, sum, _mm512_set1_epi32(-1)));
    }
    static V less(V a, V b, V yes, V no) {
        return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
    }
    template <int MODE>
    static V whole(V a) { return _mm512_roundscale_ps(a, MODE | _MM_FROUND_NO_EXC); }
    // A fixed-point sum is an integer in the same bits.
    template <int MODE>
    static V to_fixed(V a) { return f(_mm512_cvt_roundps_epi32(a, MODE | _MM_FROUND_NO_EXC)); }
    static V from_fixed(V a) { return _mm512_cvtepi32_ps(i(a)); }
    static V add_fixed(V a, V b) { return addi(a, b); }
    static V limit_fixed(V a, V low, V high) { return mini(maxi(a, low), high); }
    static V set_fixed(double a) { return seti(static_cast<I>(a)); }
    static V wrap_fixed(V a, int bits, V) {
        const __m128i unused = _mm_cvtsi32_si128(32 - bits);
        return f(_mm512_sra_epi32(_mm512_sll_epi32(i(a), unused), unused));
    }
    // Lanes as an integer of so many bits, from the lowest: a != b, a > b.
    static uint32_t same(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
    static uint32_t same_fixed(V a, V b) { return _mm512_cmpeq_epi32_mask(i(a), i(b)); }
    // Lanes with |a - b| <= threshold * |addend * scale|, each side rounded to nearest in double precision.
    static constexpr bool DOUBLES = true;
    static uint32_t small_changes(V a, V b, V addend, double scale, double threshold) {
        constexpr int NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        uint32_t lanes = 0;
        for (int half = 0; half < 2; half++) {
            const auto part = [&](V v) {
                return _mm512_cvtps_pd(half ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
            };
            const __m512d change = _mm512_sub_round_pd(part(a), part(b), NEAREST);
            const __m512d exact = _mm512_mul_pd(_mm512_abs_pd(part(addend)), _mm512_set1_pd(scale));
            const __m512d least = _mm512_mul_round_pd(exact, _mm512_set1_pd(threshold), NEAREST);
            lanes |= static_cast<uint32_t>(_mm512_cmp_pd_mask(_mm512_abs_pd(change), least, _CMP_LE_OQ)) << 8 * half;
        }
        return lanes;
    }
    static uint32_t differ(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
    static uint32_t above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    static uint32_t differ_fixed(V a, V b) { return _mm512_cmpneq_epi32_mask(i(a), i(b)); }
    static uint32_t above_fixed(V a, V b) { return _mm512_cmpgt_epi32_mask(i(a), i(b)); }
    // count[lane] += 1 in the lanes given.
    static void tally(I* count, uint32_t lanes) {
        const __m512i n = _mm512_loadu_si512(count);
        _mm512_storeu_si512(count, _mm512_mask_sub_epi32(n, static_cast<__mmask16>(lanes), n, _mm512_set1_epi32(-1)));
    }
};

struct Double {
    using T = double;
    using Wide = T;
    static constexpr bool ANY_WAY = true;
    template <int N>
    static void narrow(const Wide* from, T* to) { std::memcpy(to, from, N * sizeof(T)); }
    template <int N>
    static void widen(const T* from, Wide* to) { std::memcpy(to, from, N * sizeof(T)); }
    using I = int64_t;
    using V = __m512d;
    static constexpr int W = 8, ROWS = 8, BITS = 53, MIN_EXPONENT = -1022;
    static __m512i i(V a) { return _mm512_castpd_si512(a); }
    static V f(__m512i a) { return _mm512_castsi512_pd(a); }
    static V load(const T* p) { return _mm512_loadu_pd(p); }
    static void store(T* p, V a) { _mm512_storeu_pd(p, a); }
    static V set(T a) { return _mm512_set1_pd(a); }
    static V seti(I a) { return f(_mm512_set1_epi64(a)); }
    static V add(V a, V b) { return _mm512_add_pd(a, b); }
    static V sub(V a, V b) { return _mm512_sub_pd(a, b); }
    static V mul(V a, V b) { return _mm512_mul_pd(a, b); }
    static V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
    static V max(V a, V b) { return _mm512_max_pd(a, b); }
    static V min(V a, V b) { return _mm512_min_pd(a, b); }
    static V and_(V a, V b) { return f(_mm512_and_si512(i(a), i(b))); }
    static V xor_(V a, V b) { return f(_mm512_xor_si512(i(a), i(b))); }
    static V addi(V a, V b) { return f(_mm512_add_epi64(i(a), i(b))); }
    static V abs(V a) { return and_(a, seti(INT64_MAX)); }
    static V signed_as(V magnitude, V sign) {
        return f(_mm512_ternarylogic_epi64(i(magnitude), i(sign), _mm512_set1_epi64(INT64_MIN), 0xf8));
    }
    static V flush_test(I kept) { return seti(kept & INT64_MAX & ~(I(1) << 52)); }
    static V limit(V a, V max) { return _mm512_range_pd(a, max, 2); }
    static V keep_if(V a, V test, V keep) {
        return f(_mm512_maskz_and_epi64(_mm512_test_epi64_mask(i(a), i(test)), i(a), i(keep)));
    }
    static V fma_if(V a, V test, V b, V c) {
        return _mm512_mask3_fmadd_pd(a, b, c, _mm512_test_epi64_mask(i(a), i(test)));
    }
    static V add_odd(V a, V low, V bit, int) {
        const __mmask8 odd = _mm512_test_epi64_mask(i(a), i(bit));
        const __m512i sum = _mm512_add_epi64(i(a), i(low));
        return f(_mm512_mask_sub_epi64(sum, odd, sum, _mm512_set1_epi64(-1)));
    }
    static V less(V a, V b, V yes, V no) {
        return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), no, yes);
    }
    template <int MODE>
    static V whole(V a) { return _mm512_roundscale_pd(a, MODE | _MM_FROUND_NO_EXC); }
    template <int MODE>
    static V to_fixed(V a) { return whole<MODE>(a); }
    static V from_fixed(V a) { return a; }
    static V add_fixed(V a, V b) { return add(a, b); }
    static V limit_fixed(V a, V low, V high) { return min(max(a, low), high); }
    static V set_fixed(double a) { return set(a); }
    static V wrap_fixed(V a, int, V modulus) {
        const V half = mul(modulus, set(0.5));
        const V turns = whole<_MM_FROUND_TO_NEG_INF>(_mm512_div_pd(add(a, half), modulus));
        return sub(a, mul(turns, modulus));
    }
    static uint32_t same(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
    static uint32_t same_fixed(V a, V b) { return same(a, b); }
    static constexpr bool DOUBLES = true;
    static uint32_t small_changes(V a, V b, V addend, double scale, double threshold) {
        constexpr int NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        const V up = set(0x1p512);  // far from where the processor flushes
        const V change = _mm512_sub_round_pd(mul(a, up), mul(b, up), NEAREST);
        const V exact = mul(mul(abs(addend), up), set(scale));
        const V least = _mm512_mul_round_pd(exact, set(threshold), NEAREST);
        return _mm512_cmp_pd_mask(abs(change), least, _CMP_LE_OQ);
    }
    static uint32_t differ(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
    static uint32_t above(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
    static uint32_t differ_fixed(V a, V b) { return differ(a, b); }
    static uint32_t above_fixed(V a, V b) { return above(a, b); }
    static void tally(I* count, uint32_t lanes) {
        const __m512i n = _mm512_loadu_si512(count);
        _mm512_storeu_si512(count, _mm512_mask_sub_epi64(n, static_cast<__mmask8>(lanes), n, _mm512_set1_epi64(-1)));
    }
};

#if defined(__AVX512FP16__)
// Half precision, which the processor does not flush: subnormal results are there, and are compared away. Only
// steps toward zero are built.
struct Half {
    using T = _Float16;
    using Wide = float;
    using I = int16_t;
    using V = __m512h;
    static constexpr int W = 32, ROWS = 8, BITS = 11, MIN_EXPONENT = -14;
    static constexpr bool ANY_WAY = false;
    template <int N>
    static void narrow(const Wide* from, T* to) {
        if constexpr (N % 16 == 0)
            for (int j = 0; j < N; j += 16)
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + j),
                                    _mm256_castph_si256(_mm512_cvtxps_ph(_mm512_loadu_ps(from + j))));
        else
            for (int j = 0; j < N; j++) to[j] = static_cast<T>(from[j]);
    }
    template <int N>
    static void widen(const T* from, Wide* to) {
        for (int j = 0; j < N; j += 16)
            _mm512_storeu_ps(to + j, _mm512_cvtxph_ps(_mm256_castsi256_ph(_mm256_loadu_si256(
                                         reinterpret_cast<const __m256i*>(from + j)))));
    }
    static __m512i i(V a) { return _mm512_castph_si512(a); }
    static V f(__m512i a) { return _mm512_castsi512_ph(a); }
    static V load(const T* p) { return _mm512_loadu_ph(p); }
    static void store(T* p, V a) { _mm512_storeu_ph(p, a); }
    static V set(T a) { return _mm512_set1_ph(a); }
    static V seti(I a) { return f(_mm512_set1_epi16(a)); }
    static V mul(V a, V b) { return _mm512_mul_ph(a, b); }
    static V fma(V a, V b, V c) { return _mm512_fmadd_ph(a, b, c); }
    static V and_(V a, V b) { return f(_mm512_and_si512(i(a), i(b))); }
    static V xor_(V a, V b) { return f(_mm512_xor_si512(i(a), i(b))); }
    static V addi(V a, V b) { return f(_mm512_add_epi16(i(a), i(b))); }
    static V limit(V a, V max) {
        return _mm512_max_ph(_mm512_min_ph(a, max), f(_mm512_xor_si512(i(max), _mm512_set1_epi16(INT16_MIN))));
    }
    // Twice the bits of the largest magnitude that is flushed: doubling drops the sign.
    static V flush_test(I kept) { return seti(static_cast<I>(((1 << 10) | (~kept & 0x3ff)) << 1)); }
    static __mmask32 survives(V a, V test) {
        return _mm512_cmpgt_epu16_mask(_mm512_add_epi16(i(a), i(a)), i(test));
    }
    static V keep_if(V a, V test, V keep) {
        return f(_mm512_maskz_mov_epi16(survives(a, test), _mm512_and_si512(i(a), i(keep))));
    }
    static V fma_if(V a, V test, V b, V c) { return _mm512_mask3_fmadd_ph(a, b, c, survives(a, test)); }
};
#endif

struct Short {
    using V = __m512i;
    static constexpr int W = 32, ROWS = 8;
    static V load(const int16_t* p) { return _mm512_loadu_si512(p); }
    static void store(int16_t* p, V a) { _mm512_storeu_si512(p, a); }
    static V pair(const int16_t* p) { return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p)); }
    static V set(int a) { return _mm512_set1_epi16(static_cast<int16_t>(a)); }
    static V mul(V a, V b) { return _mm512_mullo_epi16(a, b); }
    static V add(V a, V b) { return _mm512_adds_epi16(a, b); }
    static V limit(V a, V low, V high) { return _mm512_min_epi16(_mm512_max_epi16(a, low), high); }
};

#else  // AVX2

struct Single {
    using T = float;
    using Wide = T;
    static constexpr bool ANY_WAY = true;
    template <int N>
    static void narrow(const Wide* from, T* to) { std::memcpy(to, from, N * sizeof(T)); }
    template <int N>
    static void widen(const T* from, Wide* to) { std::memcpy(to, from, N * sizeof(T)); }
    using I = int32_t;
    using V = __m256;
    static constexpr int W = 8, ROWS = 4, BITS = 24, MIN_EXPONENT = -126;
    static __m256i i(V a) { return _mm256_castps_si256(a); }
    static V f(__m256i a) { return _mm256_castsi256_ps(a); }
    static V load(const T* p) { return _mm256_loadu_ps(p); }
    static void store(T* p, V a) { _mm256_storeu_ps(p, a); }
    static V set(T a) { return _mm256_set1_ps(a); }
    static V seti(I a) { return f(_mm256_set1_epi32(a)); }
    static V add(V a, V b) { return _mm256_add_ps(a, b); }
    static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
    static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
    static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    static V max(V a, V b) { return _mm256_max_ps(a, b); }
    static V min(V a, V b) { return _mm256_min_ps(a, b); }
    static V and_(V a, V b) { return _mm256_and_ps(a, b); }
    static V xor_(V a, V b) { return _mm256_xor_ps(a, b); }
    static V addi(V a, V b) { return f(_mm256_add_epi32(i(a), i(b))); }
    static V maxi(V a, V b) { return f(_mm256_max_epi32(i(a), i(b))); }
    static V mini(V a, V b) { return f(_mm256_min_epi32(i(a), i(b))); }
    static V abs(V a) { return and_(a, seti(0x7fffffff)); }
    static V signed_as(V magnitude, V sign) { return _mm256_or_ps(magnitude, and_(sign, seti(INT32_MIN))); }
    static V flush_test(I kept) { return seti(kept & INT32_MAX & ~(1 << 23)); }
    static V limit(V a, V max) { return _mm256_max_ps(_mm256_min_ps(a, max), xor_(max, seti(INT32_MIN))); }
    static V drop(V a, V test) {  // all ones where a & test is 0
        return f(_mm256_cmpeq_epi32(i(and_(a, test)), _mm256_setzero_si256()));
    }
    static V keep_if(V a, V test, V keep) { return _mm256_andnot_ps(drop(a, test), and_(a, keep)); }
    static V fma_if(V a, V test, V b, V c) { return fma(_mm256_andnot_ps(drop(a, test), a), b, c); }
    static V add_odd(V a, V low, V, int dropped) {
        const __m256i odd = _mm256_and_si256(_mm256_srl_epi32(i(a), _mm_cvtsi32_si128(dropped)), _mm256_set1_epi32(1));
        return f(_mm256_add_epi32(_mm256_add_epi32(i(a), i(low)), odd));
    }
    static V less(V a, V b, V yes, V no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
    template <int MODE>
    static V whole(V a) { return _mm256_round_ps(a, MODE | _MM_FROUND_NO_EXC); }
    template <int MODE>
    static V to_fixed(V a) { return f(_mm256_cvttps_epi32(whole<MODE>(a))); }
    static V from_fixed(V a) { return _mm256_cvtepi32_ps(i(a)); }
    static V add_fixed(V a, V b) { return addi(a, b); }
    static V limit_fixed(V a, V low, V high) { return mini(maxi(a, low), high); }
    static V set_fixed(double a) { return seti(static_cast<I>(a)); }
    static V wrap_fixed(V a, int bits, V) {
        const __m128i unused = _mm_cvtsi32_si128(32 - bits);
        return f(_mm256_sra_epi32(_mm256_sll_epi32(i(a), unused), unused));
    }
    static uint32_t bits(V mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
    static constexpr bool DOUBLES = false;
    static uint32_t same(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
    static uint32_t same_fixed(V a, V b) { return bits(f(_mm256_cmpeq_epi32(i(a), i(b)))); }
    static uint32_t differ(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ)); }
    static uint32_t above(V a, V b) { return bits(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
    static uint32_t differ_fixed(V a, V b) { return bits(f(_mm256_cmpeq_epi32(i(a), i(b)))) ^ 0xff; }
    static uint32_t above_fixed(V a, V b) { return bits(f(_mm256_cmpgt_epi32(i(a), i(b)))); }
    static void tally(I* count, uint32_t lanes) {
        for (int j = 0; j < W; j++) count[j] += lanes >> j & 1;
    }
};

struct Double {
    using T = double;
    using Wide = T;
    static constexpr bool ANY_WAY = true;
    template <int N>
    static void narrow(const Wide* from, T* to) { std::memcpy(to, from, N * sizeof(T)); }
    template <int N>
    static void widen(const T* from, Wide* to) { std::memcpy(to, from, N * sizeof(T)); }
    using I = int64_t;
    using V = __m256d;
    static constexpr int W = 4, ROWS = 4, BITS = 53, MIN_EXPONENT = -1022;
    static __m256i i(V a) { return _mm256_castpd_si256(a); }
    static V f(__m256i a) { return _mm256_castsi256_pd(a); }
    static V load(const T* p) { return _mm256_loadu_pd(p); }
    static void store(T* p, V a) { _mm256_storeu_pd(p, a); }
    static V set(T a) { return _mm256_set1_pd(a); }
    static V seti(I a) { return f(_mm256_set1_epi64x(a)); }
    static V add(V a, V b) { return _mm256_add_pd(a, b); }
    static V sub(V a, V b) { return _mm256_sub_pd(a, b); }
    static V mul(V a, V b) { return _mm256_mul_pd(a, b); }
    static V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
    static V max(V a, V b) { return _mm256_max_pd(a, b); }
    static V min(V a, V b) { return _mm256_min_pd(a, b); }
    static V and_(V a, V b) { return _mm256_and_pd(a, b); }
    static V xor_(V a, V b) { return _mm256_xor_pd(a, b); }
    static V addi(V a, V b) { return f(_mm256_add_epi64(i(a), i(b))); }
    static V abs(V a) { return and_(a, seti(INT64_MAX)); }
    static V signed_as(V magnitude, V sign) { return _mm256_or_pd(magnitude, and_(sign, seti(INT64_MIN))); }
    static V flush_test(I kept) { return seti(kept & INT64_MAX & ~(I(1) << 52)); }
    static V limit(V a, V max) { return _mm256_max_pd(_mm256_min_pd(a, max), xor_(max, seti(INT64_MIN))); }
    static V drop(V a, V test) {
        return f(_mm256_cmpeq_epi64(i(and_(a, test)), _mm256_setzero_si256()));
    }
    static V keep_if(V a, V test, V keep) { return _mm256_andnot_pd(drop(a, test), and_(a, keep)); }
    static V fma_if(V a, V test, V b, V c) { return fma(_mm256_andnot_pd(drop(a, test), a), b, c); }
    static V add_odd(V a, V low, V, int dropped) {
        const __m256i odd = _mm256_and_si256(_mm256_srl_epi64(i(a), _mm_cvtsi32_si128(dropped)), _mm256_set1_epi64x(1));
        return f(_mm256_add_epi64(_mm256_add_epi64(i(a), i(low)), odd));
    }
    static V less(V a, V b, V yes, V no) { return _mm256_blendv_pd(no, yes, _mm256_cmp_pd(a, b, _CMP_LT_OQ)); }
    template <int MODE>
    static V whole(V a) { return _mm256_round_pd(a, MODE | _MM_FROUND_NO_EXC); }
    template <int MODE>
    static V to_fixed(V a) { return whole<MODE>(a); }
    static V from_fixed(V a) { return a; }
    static V add_fixed(V a, V b) { return add(a, b); }
    static V limit_fixed(V a, V low, V high) { return min(max(a, low), high); }
    static V set_fixed(double a) { return set(a); }
    static V wrap_fixed(V a, int, V modulus) {
        const V half = mul(modulus, set(0.5));
        const V turns = whole<_MM_FROUND_TO_NEG_INF>(_mm256_div_pd(add(a, half), modulus));
        return sub(a, mul(turns, modulus));
    }
    static uint32_t bits(V mask) { return static_cast<uint32_t>(_mm256_movemask_pd(mask)); }
    static constexpr bool DOUBLES = false;
    static uint32_t same(V a, V b) { return bits(_mm256_cmp_pd(a, b, _CMP_EQ_OQ)); }
    static uint32_t same_fixed(V a, V b) { return same(a, b); }
    static uint32_t differ(V a, V b) { return bits(_mm256_cmp_pd(a, b, _CMP_NEQ_UQ)); }
    static uint32_t above(V a, V b) { return bits(_mm256_cmp_pd(a, b, _CMP_GT_OQ)); }
    static uint32_t differ_fixed(V a, V b) { return differ(a, b); }
    static uint32_t above_fixed(V a, V b) { return above(a, b); }
    static void tally(I* count, uint32_t lanes) {
        for (int j = 0; j < W; j++) count[j] += lanes >> j & 1;
    }
};

struct Short {
    using V = __m256i;
    static constexpr int W = 16, ROWS = 4;
    static V load(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static void store(int16_t* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
    static V pair(const int16_t* p) { return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p)); }
    static V set(int a) { return _mm256_set1_epi16(static_cast<int16_t>(a)); }
    static V mul(V a, V b) { return _mm256_mullo_epi16(a, b); }
    static V add(V a, V b) { return _mm256_adds_epi16(a, b); }
    static V limit(V a, V low, V high) { return _mm256_min_epi16(_mm256_max_epi16(a, low), high); }
};

#endif

}  // namespace fmaq
