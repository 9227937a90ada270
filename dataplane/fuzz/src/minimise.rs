//! Makes an input that breaks something smaller, and then plainer. What breaks is the caller's to say.

/// Attempts for one input, at most.
const ATTEMPTS_MAX: u32 = 4000;
/// What a byte becomes where its value does not matter, the plainest first.
const PLAIN: [u8; 2] = [b'a', 0];

/// The smallest input found that `breaks` still: parts of every size are taken out, then bytes are made plain, until
/// nothing changes or the attempts are used up.
pub(crate) fn minimise(input: &[u8], mut breaks: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut attempts = 0;
    let mut try_it = |candidate: &[u8]| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX && breaks(candidate)
    };
    loop {
        let before = best.clone();
        let mut part = best.len().div_ceil(2);
        while part > 0 {
            take_out(&mut best, part, &mut try_it);
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
        for at in 0..best.len() {
            for plain in PLAIN {
                let old = std::mem::replace(&mut best[at], plain);
                if old == plain || try_it(&best) {
                    break;
                }
                best[at] = old;
            }
        }
        if best == before {
            return best;
        }
    }
}

/// Takes parts of this size out wherever it still breaks without them.
fn take_out(best: &mut Vec<u8>, part: usize, try_it: &mut impl FnMut(&[u8]) -> bool) {
    let mut at = 0;
    while at < best.len() {
        let end = best.len().min(at + part);
        let without = [&best[..at], &best[end..]].concat();
        if try_it(&without) {
            *best = without;
        } else {
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn what_does_not_matter_is_taken_out_or_made_plain() {
        let input: Vec<u8> = (0..=255).cycle().take(2000).collect();
        let breaks = |bytes: &[u8]| {
            let seven = bytes.iter().position(|byte| *byte == 7);
            seven.is_some_and(|at| bytes.get(at + 2) == Some(&9))
        };
        assert_eq!(minimise(&input, breaks), [7, b'a', 9]);
        assert_eq!(minimise(&input, |_| true), []);
        assert_eq!(minimise(&input, |bytes| bytes == input), input);
    }
}
