//! Which transactions a snapshot has seen: what tells whether a change of the log is in the rows that were loaded.

/// A snapshot as `pg_current_snapshot()` shows it: `xmin:xmax:xip,xip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The first transaction that had not begun.
    xmax: u64,
    /// The first transaction that had not ended.
    xmin: u64,
    /// Those in between that had not ended.
    running: Vec<u64>,
}

impl Snapshot {
    /// Reads the text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|id| !id.is_empty());
        let running = running.map(|id| id.parse().ok()).collect::<Option<_>>()?;
        Some(Self { xmax, xmin, running })
    }

    /// Whether it has seen what a transaction did that has committed since, or before. `xid` is as the log has it, without
    /// the epoch.
    #[must_use]
    pub fn has_seen(&self, xid: u32) -> bool {
        let xid = self.with_epoch(xid);
        xid < self.xmin || (xid < self.xmax && !self.running.contains(&xid))
    }

    /// Whether a transaction that ran at `earlier` still runs.
    #[must_use]
    pub fn shares_running(&self, earlier: &Self) -> bool {
        earlier.running.iter().any(|xid| self.running.contains(xid))
    }

    /// The number with its epoch: the one that is nearest to the end of the snapshot.
    fn with_epoch(&self, xid: u32) -> u64 {
        const HALF: u64 = 1 << 31;
        let same = (self.xmax & !u64::from(u32::MAX)) | u64::from(xid);
        if same >= self.xmax + HALF {
            same.saturating_sub(HALF * 2)
        } else if same + HALF < self.xmax {
            same + HALF * 2
        } else {
            same
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_before_is_seen() {
        let snapshot = Snapshot::parse("100:110:100,105").unwrap();
        let seen: Vec<u32> = (98..112).filter(|xid| snapshot.has_seen(*xid)).collect();
        assert_eq!(seen, [98, 99, 101, 102, 103, 104, 106, 107, 108, 109]);
        let idle = Snapshot::parse("100:100:").unwrap();
        assert!(idle.has_seen(99) && !idle.has_seen(100));
        assert!(snapshot.shares_running(&Snapshot::parse("100:120:105").unwrap()));
        assert!(!idle.shares_running(&snapshot));
        assert_eq!(Snapshot::parse("100:"), None);
    }

    #[test]
    fn transaction_numbers_wrap_around() {
        let epoch = 3_u64 << 32;
        let snapshot = Snapshot::parse(&format!("{}:{}:", epoch + 5, epoch + 5)).unwrap();
        assert!(snapshot.has_seen(4) && !snapshot.has_seen(5));
        assert!(snapshot.has_seen(u32::MAX), "it belongs to the epoch before");
        let before = Snapshot::parse(&format!("{}:{}:", epoch - 2, epoch - 2)).unwrap();
        assert!(!before.has_seen(1), "it belongs to the epoch after");
    }
}
