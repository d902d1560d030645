//! How much may wait to be invoked asynchronously. AWS keeps events for hours and has no such bound; this is one machine.

/// The most events that wait, over all functions.
const MOST: usize = 5000;
/// The most bytes that they have.
const LARGEST: usize = 32 << 20;

/// What waits now.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: usize,
    bytes: usize,
}

impl Queue {
    /// Takes an event in; false: there is no room.
    pub(super) fn enter(&mut self, bytes: usize) -> bool {
        let room = self.events < MOST && self.bytes + bytes <= LARGEST;
        if room {
            self.events += 1;
            self.bytes += bytes;
        }
        room
    }

    /// An event that was taken in is done with.
    pub(super) fn leave(&mut self, bytes: usize) {
        self.events -= 1;
        self.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_in_events_and_bytes() {
        let mut queue = Queue::default();
        let taken = (0..MOST * 2).filter(|_| queue.enter(2)).count();
        assert_eq!(taken, MOST);
        queue.leave(2);
        assert!(queue.enter(2) && !queue.enter(2));
        let mut queue = Queue::default();
        let taken = (0..100).filter(|_| queue.enter(1 << 20)).count();
        assert_eq!(taken, 32);
        assert!(!queue.enter(1) && queue.enter(0));
    }
}
