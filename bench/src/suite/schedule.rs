//! In which order the cells are measured.
//!
//! Systems take turns, A B C A B C: what drifts while a suite runs (temperature, neighbours, page cache) then reaches
//! all of them alike. Networks are outermost, because each is made once; then rounds; then workloads. Pure.

use std::time::Duration;

/// What is to be measured, each list in the order of turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of workloads.
    pub workloads: Vec<String>,
    /// Names of systems.
    pub systems: Vec<String>,
    /// How often each cell is measured.
    pub rounds: u32,
}

/// One sample to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The network's name.
    pub network: String,
    /// Counted from 1.
    pub round: u32,
    /// The workload's name.
    pub workload: String,
    /// The system's name.
    pub system: String,
}

impl Matrix {
    /// All cells, in order.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::with_capacity(self.len());
        for network in &self.networks {
            for round in 1..=self.rounds {
                for workload in &self.workloads {
                    cells.extend(self.systems.iter().map(|system| Cell {
                        network: network.clone(),
                        round,
                        workload: workload.clone(),
                        system: system.clone(),
                    }));
                }
            }
        }
        cells
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.networks.len() * self.workloads.len() * self.systems.len() * self.rounds as usize
    }

    /// Whether there is nothing to measure.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How long the rest will take, if it goes on as it went; `None` before anything is known.
#[must_use]
pub fn left(done: usize, all: usize, elapsed: Duration) -> Option<Duration> {
    let done_count = u32::try_from(done).ok().filter(|&done| done > 0)?;
    let rest = u32::try_from(all.saturating_sub(done)).ok()?;
    Some(elapsed / done_count * rest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Matrix, left};

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn systems_take_turns_within_a_workload_within_a_round_within_a_network() {
        let matrix =
            Matrix { networks: names("n m"), workloads: names("u d"), systems: names("A B C"), rounds: 2 };
        let cells = matrix.cells();
        let text: Vec<String> = cells
            .iter()
            .map(|cell| format!("{}{}{}{}", cell.network, cell.round, cell.workload, cell.system))
            .collect();
        assert_eq!(
            text.join(" "),
            "n1uA n1uB n1uC n1dA n1dB n1dC n2uA n2uB n2uC n2dA n2dB n2dC \
             m1uA m1uB m1uC m1dA m1dB m1dC m2uA m2uB m2uC m2dA m2dB m2dC"
        );
        assert_eq!(cells.len(), matrix.len());
        assert!(!matrix.is_empty() && Matrix { rounds: 0, ..matrix }.is_empty());
    }

    #[test]
    fn the_rest_takes_as_long_as_what_was() {
        assert_eq!(left(0, 10, Duration::from_secs(1)), None);
        assert_eq!(left(4, 10, Duration::from_secs(8)), Some(Duration::from_secs(12)));
        assert_eq!(left(10, 10, Duration::from_secs(8)), Some(Duration::ZERO));
        assert_eq!(left(12, 10, Duration::from_secs(8)), Some(Duration::ZERO));
    }
}
