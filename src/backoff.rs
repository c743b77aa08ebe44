//! How long a task waits for its next attempt.

use std::time::Duration;

use serde::Deserialize;

/// The longest wait that is not asked for by name, for delays that grow.
const LONGEST: f64 = 60.0 * 60.0 * 1000.0;

/// A policy, as a task's `options` and a worker's have it. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Backoff {
    /// One delay for each retry; the last one also for those beyond.
    List(Vec<f64>),
    Policy(Policy),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(rename = "type")]
    pub growth: Growth,
    /// Before the first retry.
    pub delay: f64,
    /// At most; for exponential ones an hour if absent.
    pub max_delay: Option<f64>,
    /// How much of a delay is left to chance: 0.25 makes 1,000 ms any time from 750 to 1,000.
    #[serde(default)]
    pub jitter: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Growth {
    Fixed,
    /// Twice as long each time.
    Exponential,
}

impl Backoff {
    /// The delay before the attempt that follows `attempt`, which counts from 1; `chance` is from
    /// 0 up to 1. Whole milliseconds, and 0 where the policy holds no number.
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let retry = attempt.saturating_sub(1);
        let milliseconds = match self {
            Backoff::List(delays) => delays
                .get(retry as usize)
                .or(delays.last())
                .copied()
                .unwrap_or(0.0),
            Backoff::Policy(policy) => {
                let (grown, longest) = match policy.growth {
                    Growth::Fixed => (policy.delay, f64::MAX),
                    Growth::Exponential => {
                        (policy.delay * 2f64.powi(retry.min(1000) as i32), LONGEST)
                    }
                };
                let delay = grown.min(policy.max_delay.unwrap_or(longest));
                delay * (1.0 - policy.jitter.clamp(0.0, 1.0) * chance)
            }
        };
        // A century at most: what adds it to a date must not overflow.
        Duration::from_millis(milliseconds.clamp(0.0, 100.0 * 365.0 * 86_400_000.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delays(json: &str, chance: f64) -> Vec<u64> {
        let backoff: Backoff = serde_json::from_str(json).expect("a policy");
        (1..=5)
            .map(|attempt| backoff.delay(attempt, chance).as_millis() as u64)
            .collect()
    }

    #[test]
    fn each_policy_gives_its_delays() {
        let fixed = r#"{"type":"fixed","delay":100}"#;
        let grows = r#"{"type":"exponential","delay":100}"#;
        let capped = r#"{"type":"exponential","delay":100,"maxDelay":300}"#;
        let jitter = r#"{"type":"exponential","delay":100,"jitter":0.5}"#;
        assert_eq!(delays(fixed, 0.9), [100; 5]);
        assert_eq!(delays(grows, 0.9), [100, 200, 400, 800, 1600]);
        assert_eq!(delays(capped, 0.9), [100, 200, 300, 300, 300]);
        assert_eq!(delays(jitter, 0.5), [75, 150, 300, 600, 1200]);
        assert_eq!(delays("[5,10]", 0.9), [5, 10, 10, 10, 10]);
        assert_eq!(delays("[]", 0.9), [0; 5]);
    }

    #[test]
    fn an_exponential_delay_ends_at_an_hour_where_nothing_else_is_said() {
        let backoff: Backoff =
            serde_json::from_str(r#"{"type":"exponential","delay":1000}"#).expect("a policy");
        assert_eq!(backoff.delay(4_000_000_000, 0.0).as_secs(), 3600);
    }

    proptest! {
        #[test]
        fn a_delay_is_never_longer_than_its_policy_allows(
            delay in 0.0..1e12f64, longest in 0.0..1e9f64, jitter in 0.0..=1.0f64,
            attempt in any::<u32>(), chance in 0.0..1.0f64,
        ) {
            let policy = Policy { growth: Growth::Exponential, delay, max_delay: Some(longest), jitter };
            let waited = Backoff::Policy(policy).delay(attempt, chance).as_millis() as f64;
            prop_assert!(waited <= longest);
            prop_assert!(waited + 1.0 >= delay.min(longest) * (1.0 - jitter));
        }
    }
}
