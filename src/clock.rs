//! The wire's dates.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};

static LAST: AtomicI64 = AtomicI64::new(i64::MIN);

/// Now, as the wire writes it: UTC, RFC 3339 with microseconds and `Z`.
///
/// No two calls in a process give the same date, and none goes backwards while the process lives,
/// whatever the machine's clock does: the scripts know a repeated call by its date.
pub fn now() -> String {
    let micros = Utc::now().timestamp_micros();
    let last = LAST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(micros.max(last.saturating_add(1)))
        })
        .unwrap_or(micros);
    format(micros.max(last.saturating_add(1)))
}

fn format(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_wire_says() {
        assert_eq!(format(1_449_274_741_834_909), "2015-12-05T00:19:01.834909Z");
    }

    #[test]
    fn no_two_dates_are_the_same() {
        let dates: Vec<String> = (0..1000).map(|_| now()).collect();
        assert!(dates.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
