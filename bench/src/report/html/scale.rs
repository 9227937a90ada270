//! From values to places on paper, and the values that are written at the axis.

/// A straight or a logarithmic axis between two places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// From nothing to the most; more than nothing must it be.
    pub(super) fn linear(most: f64, start: f64, end: f64) -> Self {
        let to = if most > 0.0 { most } else { 1.0 };
        Self { from: 0.0, to, start, end, logarithmic: false }
    }

    /// Between two positive values; an empty span is widened.
    pub(super) fn log(least: f64, most: f64, start: f64, end: f64) -> Self {
        let from = least.max(f64::MIN_POSITIVE);
        Self { from, to: most.max(from * 1.01), start, end, logarithmic: true }
    }

    /// Where a value is; beyond the ends it is at the end.
    pub(super) fn place(self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        (self.end - self.start).mul_add(share.clamp(0.0, 1.0), self.start)
    }

    /// Round values on it, few enough to be read.
    pub(super) fn ticks(self) -> Vec<f64> {
        if self.logarithmic { self.log_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(self) -> Vec<f64> {
        let raw = (self.to - self.from) / 4.0;
        let decade = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|part| part * decade).into_iter().find(|step| *step >= raw);
        let step = step.unwrap_or(raw);
        (0..=5).map(|index| f64::from(index) * step).filter(|value| *value <= self.to * 1.000_001).collect()
    }

    /// 1, 2, 5 of each decade; only the decades themselves where there are many.
    fn log_ticks(self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let parts: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut decade = 10_f64.powf(self.from.log10().floor());
        let mut ticks = Vec::new();
        while decade <= self.to {
            ticks.extend(parts.iter().map(|part| part * decade));
            decade *= 10.0;
        }
        let margin = 1.000_001;
        ticks.retain(|value| *value >= self.from / margin && *value <= self.to * margin);
        ticks
    }
}

/// A place as it is written into a drawing.
pub(super) fn at(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Scale, at};

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear(2.4e9, 0.0, 1.0).ticks(), [0.0, 1e9, 2e9]);
        assert_eq!(Scale::linear(0.0, 0.0, 1.0).ticks(), [0.0, 0.25, 0.5, 0.75, 1.0]);
        let ticks = Scale::log(0.9, 25.0, 0.0, 1.0).ticks();
        assert_eq!(ticks, [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(at(3.04), "3");
    }

    proptest! {
        #[test]
        fn places_stay_between_the_ends_and_in_order(
            least in 1e-9..1e9f64, span in 1.0..1e6f64, a in 1e-9..1e15f64, b in 1e-9..1e15f64,
        ) {
            for scale in [Scale::log(least, least * span, 10.0, 90.0), Scale::linear(least * span, 10.0, 90.0)] {
                let (low, high) = (scale.place(a.min(b)), scale.place(a.max(b)));
                prop_assert!((10.0..=90.0).contains(&low) && low <= high && high <= 90.0);
                let ticks = scale.ticks();
                prop_assert!(ticks.len() <= 14, "{}", ticks.len());
                prop_assert!(ticks.iter().all(|tick| (9.99..=90.01).contains(&scale.place(*tick))));
            }
        }
    }
}
