//! The rank test of Mann and Whitney, exact: the share of all ways to deal the same values to two sides that part them
//! as much as the runs did, or more.
//!
//! Exact also with equal values (their ranks are averaged), which is why this is not a library's: `statrs` 0.19
//! refuses those in its exact test and falls back to the normal approximation, which promises too much for the three
//! to ten runs that people have. Source: Mann and Whitney, Annals of Mathematical Statistics 18 (1947), pages 50–60.

/// Most values of one side. Counting all ways costs the cube of it, times two.
pub const RUNS_MAX: usize = 60;

/// The probability, two-sided, that two sides of no difference are parted as these are, or more: 1 where they are not
/// parted at all, or where one is empty. Values beyond [`RUNS_MAX`] of a side are left out of account.
#[must_use]
pub fn two_sided_p(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (&a[..a.len().min(RUNS_MAX)], &b[..b.len().min(RUNS_MAX)]);
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = twice_ranks(a, b);
    let ways = ways_by_sum(&ranks, a.len());
    let found: usize = ranks[..a.len()].iter().sum();
    // Twice the ranks of all n values sum up to n (n + 1), of which side a has its share when nothing parts them.
    let mean = (a.len() * (ranks.len() + 1)) as f64;
    let distance = |sum: usize| (sum as f64 - mean).abs();
    let all: f64 = ways.iter().sum();
    let as_far: f64 =
        (0..).zip(&ways).filter(|(sum, _)| distance(*sum) >= distance(found)).map(|(_, ways)| ways).sum();
    as_far / all
}

/// The least that [`two_sided_p`] can be for so many values against so many.
#[must_use]
pub fn least_p(a: usize, b: usize) -> f64 {
    let (a, b) = (a.min(RUNS_MAX), b.min(RUNS_MAX));
    if a == 0 || b == 0 {
        return 1.0;
    }
    let choices: f64 = (1..=a).map(|i| (b + i) as f64 / i as f64).product();
    (2.0 / choices).min(1.0)
}

/// How many runs of each side suffice for a probability of `alpha`; `None` where [`RUNS_MAX`] do not.
#[must_use]
pub fn runs_needed(alpha: f64) -> Option<usize> {
    (2..=RUNS_MAX).find(|runs| least_p(*runs, *runs) <= alpha)
}

/// Twice the rank of each value, a's first; equal values share the mean of their ranks. Twice, to stay whole.
fn twice_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| other.total_cmp(value).is_lt()).count();
        let equal = all.iter().filter(|other| other.total_cmp(value).is_eq()).count();
        2 * below + equal + 1
    };
    all.iter().map(rank).collect()
}

/// In how many ways `taken` of the ranks sum up to each sum.
fn ways_by_sum(ranks: &[usize], taken: usize) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    // Row by how many were taken, column by their sum. Counts are whole numbers up to 2^53 and close to them beyond.
    let mut ways = vec![vec![0.0; most + 1]; taken + 1];
    ways[0][0] = 1.0;
    for (seen, rank) in ranks.iter().enumerate() {
        for count in (1..=taken.min(seen + 1)).rev() {
            for sum in (*rank..=most).rev() {
                let before = ways[count - 1][sum - rank];
                ways[count][sum] += before;
            }
        }
    }
    ways.swap_remove(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RUNS_MAX, least_p, runs_needed, two_sided_p};

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        // Apart entirely: 2 of C(n + m, n) ways.
        close(two_sided_p(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1);
        close(two_sided_p(&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0 / 252.0);
        // U = 1 of 3 against 3: 4 of 20 ways. U = 4 of 5 against 4: tables give 0.095 for one side.
        close(two_sided_p(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]), 0.2);
        close(two_sided_p(&[1.0, 2.0, 4.0, 5.0, 7.0], &[3.0, 6.0, 8.0, 9.0]), 24.0 / 126.0);
        // Wilcoxon's own example sizes: 8 against 8, rank sums 46 and 90, U = 10: 0.0207 (two-sided).
        let (a, b) =
            ([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 10.0, 12.0], [6.0, 7.0, 8.0, 11.0, 13.0, 14.0, 15.0, 16.0]);
        let p = two_sided_p(&a, &b);
        assert!((p - 0.0207).abs() < 5e-5, "{p}");
    }

    #[test]
    fn equal_values_share_their_ranks() {
        close(two_sided_p(&[1.0, 1.0, 1.0], &[1.0, 1.0, 1.0]), 1.0);
        // Ranks 1.5, 1.5, 3 against 4, 5, 6: the same two ways of 20 as without the tie.
        close(two_sided_p(&[1.0, 1.0, 2.0], &[3.0, 4.0, 5.0]), 0.1);
        // 1, 2 against 2, 3: ranks 1, 2.5, 2.5, 4; sums 3.5, 3.5, 5, 5, 6.5, 6.5 of two; found 3.5: 4 of 6 ways.
        close(two_sided_p(&[1.0, 2.0], &[2.0, 3.0]), 4.0 / 6.0);
    }

    #[test]
    fn too_few_runs_are_known() {
        close(least_p(3, 3), 0.1);
        close(least_p(0, 3), 1.0);
        close(least_p(1, 1), 1.0);
        assert_eq!(runs_needed(0.1), Some(3));
        assert_eq!(runs_needed(0.05), Some(4));
        assert_eq!(runs_needed(0.01), Some(5));
        assert_eq!(runs_needed(0.0), None);
    }

    #[test]
    fn the_most_runs_are_still_counted() {
        let a: Vec<f64> = (0..RUNS_MAX + 5).map(|i| i as f64).collect();
        let b: Vec<f64> = a.iter().map(|value| value + 0.5).collect();
        let p = two_sided_p(&a, &b);
        assert!(p > 0.5 && p < 1.0, "{p}");
    }

    proptest! {
        #[test]
        fn the_test_agrees_with_dealing_every_way(
            values in prop::collection::vec(0u8..8, 2..10),
            cut in 1usize..9,
        ) {
            let cut = cut.min(values.len() - 1);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let (a, b) = values.split_at(cut);
            let p = two_sided_p(a, b);
            prop_assert!((p - dealt(&values, cut)).abs() < 1e-9);
            prop_assert!((p - two_sided_p(b, a)).abs() < 1e-9);
            prop_assert!(p >= least_p(a.len(), b.len()) / 2.0 - 1e-12 && p <= 1.0 + 1e-12);
        }
    }

    /// By the definition: U counts pairs, and every choice of positions is one way to deal.
    fn dealt(values: &[f64], cut: usize) -> f64 {
        let off = |chosen: u32| {
            let side = |index: usize| chosen & (1 << index) != 0;
            let mut u = 0.0;
            for (i, x) in values.iter().enumerate().filter(|(i, _)| side(*i)) {
                for (_, y) in values.iter().enumerate().filter(|(j, _)| !side(*j) && *j != i) {
                    u += if x > y {
                        1.0
                    } else if x < y {
                        0.0
                    } else {
                        0.5
                    };
                }
            }
            (u - (cut * (values.len() - cut)) as f64 / 2.0_f64).abs()
        };
        let found = off((1 << cut) - 1);
        let ways = (0..1_u32 << values.len()).filter(|chosen| chosen.count_ones() as usize == cut);
        let offs: Vec<f64> = ways.map(off).collect();
        offs.iter().filter(|off| **off >= found).count() as f64 / offs.len() as f64
    }
}
