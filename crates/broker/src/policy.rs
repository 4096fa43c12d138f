//! What happens to a feed that is behind. The table is in the crate's documentation.

use trunkline_log::{Log, Mark, Seek};
use trunkline_wire::Policy;

use crate::feed::Feed;

/// Applies a live feed's policy before it reads on. Returns the records that are left out.
pub(crate) fn leave_out(
    feed: &mut Feed,
    log: &Log,
    visible: Mark,
    window: u64,
) -> Option<(u64, u64)> {
    if !feed.live {
        return None;
    }
    let behind = visible.position.saturating_sub(feed.cursor.position());
    let target = match feed.policy {
        Policy::DropOldest if behind > window => {
            half_a_window_behind(feed, visible, behind, window)
        }
        Policy::DropNewest => {
            match feed.budget {
                None if behind > window => {
                    feed.budget = Some(window);
                    return None;
                }
                Some(0) => {}
                _ => return None,
            }
            feed.budget = None;
            visible.sequence
        }
        _ => return None,
    };
    let from = feed.cursor.sequence();
    if target <= from {
        return None;
    }
    let Seek::At(cursor) = log.seek(target) else {
        return None;
    };
    feed.cursor = cursor;
    Some((from, target - 1))
}

/// Whether a feed is so far behind that its sessions are to be disconnected.
pub(crate) fn is_hopeless(feed: &Feed, visible: Mark, window: u64) -> bool {
    feed.policy == Policy::Disconnect
        && feed.live
        && visible.position.saturating_sub(feed.cursor.position()) > window
}

/// The sequence there, as if all records had the same size; where it lies exactly does not matter.
fn half_a_window_behind(feed: &Feed, visible: Mark, behind: u64, window: u64) -> u64 {
    let records = visible.sequence.saturating_sub(feed.cursor.sequence());
    let kept = (u128::from(records) * u128::from(window / 2) / u128::from(behind.max(1))) as u64;
    visible.sequence - kept
}
