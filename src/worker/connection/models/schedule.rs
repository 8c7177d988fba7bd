//! When models are loaded: every hour while there are few, once a day at a chosen time when there are many.

use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};

use crate::worker_config::connection::{ModelsConfig, time_zone};

/// The next load after one that ended at `now` with `count` models.
#[must_use]
pub fn next_load(now: Timestamp, count: usize, models: &ModelsConfig) -> Timestamp {
    let interval = i64::try_from(models.interval_seconds.max(1)).unwrap_or(i64::MAX);
    let later = now.checked_add(SignedDuration::from_secs(interval)).unwrap_or(Timestamp::MAX);
    if count < usize::try_from(models.threshold).unwrap_or(usize::MAX) {
        return later;
    }
    // The operator has checked both; an hour later is better than never.
    daily(now, &models.daily_at, &models.time_zone).unwrap_or(later)
}

/// The next moment after `now` at which clocks in `zone` show `time`; where that hour is skipped, the moment after the gap.
fn daily(now: Timestamp, time: &str, zone: &str) -> Option<Timestamp> {
    let (hour, minute) = time.split_once(':')?;
    let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
    let zone = time_zone(zone)?;
    let today = now.to_zoned(zone.clone()).date();
    let dates = [today, today.tomorrow().ok()?, today.tomorrow().ok()?.tomorrow().ok()?];
    let moments =
        dates.into_iter().filter_map(|date| Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp()));
    moments.into_iter().find(|moment| *moment > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(daily_at: &str, time_zone: &str) -> ModelsConfig {
        ModelsConfig {
            interval_seconds: 3600,
            threshold: 10_000,
            daily_at: daily_at.to_owned(),
            time_zone: time_zone.to_owned(),
            sample_size: 100,
        }
    }

    fn next(now: &str, count: usize, daily_at: &str, zone: &str) -> String {
        next_load(now.parse().unwrap(), count, &models(daily_at, zone)).to_string()
    }

    #[test]
    fn few_models_are_loaded_every_hour_and_many_once_a_day() {
        let now = "2026-03-01T10:00:00Z";
        assert_eq!(next(now, 9_999, "02:00", "UTC"), "2026-03-01T11:00:00Z");
        assert_eq!(next(now, 10_000, "02:00", "UTC"), "2026-03-02T02:00:00Z");
        assert_eq!(next(now, 10_000, "10:01", "UTC"), "2026-03-01T10:01:00Z");
        // Exactly then: the load that has just ended was that one.
        assert_eq!(next(now, 10_000, "10:00", "UTC"), "2026-03-02T10:00:00Z");
    }

    #[test]
    fn the_time_is_that_of_the_zone_also_when_clocks_change() {
        assert_eq!(next("2026-01-01T00:00:00Z", 10_000, "02:00", "Asia/Shanghai"), "2026-01-01T18:00:00Z");
        // 02:30 does not exist on the day when clocks go forward.
        assert_eq!(next("2026-03-29T00:00:00Z", 10_000, "02:30", "Europe/Berlin"), "2026-03-29T01:30:00Z");
        assert_eq!(next("2026-03-29T12:00:00Z", 10_000, "02:30", "Europe/Berlin"), "2026-03-30T00:30:00Z");
    }

    #[test]
    fn a_zone_that_is_not_known_means_the_interval() {
        assert_eq!(next("2026-01-01T00:00:00Z", 10_000, "02:00", "Nowhere/City"), "2026-01-01T01:00:00Z");
    }
}
