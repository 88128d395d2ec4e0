use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// The way into a bounded queue, for whoever may not wait: room is taken first, and then there is room.
#[derive(Debug)]
pub struct Doorway<T> {
    queue: PollSender<T>,
    has_room: bool,
}

impl<T: Send + 'static> Doorway<T> {
    pub fn new(queue: mpsc::Sender<T>) -> Self {
        Self { queue: PollSender::new(queue), has_room: false }
    }

    /// Ready when there is room for one more, which is kept for it, or when nobody reads the queue any more.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_room {
            let Poll::Ready(taken) = self.queue.poll_reserve(cx) else { return Poll::Pending };
            self.has_room = taken.is_ok();
        }
        Poll::Ready(())
    }

    /// Puts one in. Gives it back where no room was taken, unless nobody reads the queue any more.
    pub fn put(&mut self, item: T) -> Option<T> {
        if std::mem::take(&mut self.has_room) {
            // A reader that went away since wants nothing.
            let _ = self.queue.send_item(item);
            return None;
        }
        match self.queue.get_ref()?.try_send(item) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
            Err(mpsc::error::TrySendError::Full(item)) => Some(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn room_that_was_taken_is_there() {
        let (queue, mut reader) = mpsc::channel(1);
        let mut doorway = Doorway::new(queue.clone());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(doorway.poll_room(&mut cx).is_ready());
        assert!(queue.try_send(0).is_err(), "nobody else gets it");
        assert_eq!((doorway.put(1), doorway.put(2)), (None, Some(2)));
        assert!(doorway.poll_room(&mut cx).is_pending());
        assert_eq!(reader.try_recv(), Ok(1));
        assert!(doorway.poll_room(&mut cx).is_ready());
        drop(reader);
        assert_eq!((doorway.put(3), doorway.put(4)), (None, None), "nobody wants it");
        assert!(doorway.poll_room(&mut cx).is_ready());
    }
}
