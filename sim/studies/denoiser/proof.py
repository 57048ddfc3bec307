"""The bound of the plateau error, as the page proves it; :func:`sim.denoisers.error_bound` computes it."""

from __future__ import annotations

__all__ = ["PROOF"]

PROOF = r"""
For one input, let $p_1, \dots, p_K$ be the terms in the order of the sum, $S_k = p_1 + \dots + p_k$ exactly,
and $\hat S_k$ what the accumulator holds, $\hat S_k = Q(\hat S_{k-1} + p_k)$, with $M$ mantissa bits, an
exact sum before the rounding $Q$, and no overflow. Let $\mathrm{ulp}(t) = 2^{\lfloor \log_2 t \rfloor - M}$,
and $c = \frac12$ to nearest, $c = 1$ toward zero and for stochastic rounding.

**Theorem.** With $E_0 = 0$ and $E_k = E_{k-1} + c\,\mathrm{ulp}(|S_k| + E_{k-1})$ where $p_k \ne 0$,
$E_k = E_{k-1}$ where $p_k = 0$, we have $|\hat S_k - S_k| \le E_k$ for every $k$.

*Proof.* By induction. A term of zero changes neither sum, since $\hat S_{k-1}$ is a value of the format. Else
let $v = \hat S_{k-1} + p_k$. Then $|v - S_k| = |\hat S_{k-1} - S_{k-1}| \le E_{k-1}$, so
$|v| \le |S_k| + E_{k-1}$. $Q$ moves $v$ by at most $c\,\mathrm{ulp}(|v|)$, whatever its random word, and ulp
does not decrease, so $|\hat S_k - v| \le c\,\mathrm{ulp}(|S_k| + E_{k-1})$. The triangle inequality gives the
claim. (A format that flushes to zero moves a tiny $v$ by less than $2^{1 - \mathrm{bias}}$; the code takes
the larger of the two.) ∎

**What the order does.** As $\mathrm{ulp}(t) \le 2^{-M} t$, the bound is at most
$c\,2^{-M} \sum_k (1 + c\,2^{-M})^{K-k} |S_k|$ over the terms that are not zero: the sum of the partial sums
decides. With equal gaps $g$ and $m$ ramps left of a plateau, and $\rho \ll g$, a ramp's rise is
$g, 2g, \dots, mg$ there, from the nearest to the farthest. Alternating from the left every partial sum after
a rise is $mg$ and after the $j$-th fall $jg$: $\sum_k |S_k| \approx \frac32 m^2 g$. Smallest first, a fall
comes before its rise and cancels what is there: $\frac12 m^2 g$. Grouped, the rises add up first:
$\frac12 m^3 g$. So against smallest first grouping costs a factor of $m$, $\log_2 m$ mantissa bits, and
alternating from the left a factor of 3, 1.6 bits.

**Toward zero the error has one sign** where all $S_k \ge 0$, as alternating and grouped: then
$\hat S_k \le S_k$. By induction $v \le S_k$; if $v \ge 0$, $Q(v) \le v$, and else $Q(v) \le 0 \le S_k$. ∎

**Repeated denoising does not drift** where $E_K \le \rho$ on the whole plateau of $x_n$: each output is
within $E_K$ of $x_n$, so it lies on the plateau, and so does the next one. ∎
"""
