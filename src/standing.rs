//! Is the lock ours now? What the holder of a lock is told, and who hears of a loss: one-way, and by the clock alone.

use std::mem;

use crate::clock::Moment;
use crate::lease::Lost;

/// What the holder hears when it asks.
///
/// It trusts no thread. A renewal that comes in after somebody could have seen the loss does not take it back. Each
/// change may make news, which is to be delivered before anybody else is told anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Standing<L> {
    /// `None` until the grant.
    tenure: Option<Tenure>,
    lost: Option<Lost>,
    /// The loss was told, or the holder has let go: nothing is told any more.
    closed: bool,
    listeners: Vec<L>,
    news: Option<News<L>>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Tenure {
    valid_until: Moment,
    ends: Moment,
}

/// A loss that is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct News<L> {
    pub(crate) lost: Lost,
    /// Who is to be told, of those that listen.
    pub(crate) listeners: Vec<L>,
    /// Whether nobody was told before.
    pub(crate) is_first: bool,
}

impl<L> Default for Standing<L> {
    fn default() -> Self {
        Standing { tenure: None, lost: None, closed: false, listeners: Vec::new(), news: None }
    }
}

impl<L> Standing<L> {
    pub(crate) fn grant(&mut self, valid_until: Moment, ends: Moment) {
        self.tenure = Some(Tenure { valid_until, ends });
    }

    /// A renewal came in: says until when the lock is ours now. Refused if the loss has been told, or could have been.
    pub(crate) fn extend(&mut self, now: Moment, valid_until: Moment, ends: Moment) -> Result<Moment, Lost> {
        self.check(now)?;
        self.tenure = Some(Tenure { valid_until, ends });
        Ok(valid_until)
    }

    /// The first reason stays. Before the grant there is nothing to lose.
    pub(crate) fn lose(&mut self, lost: Lost) {
        if self.tenure.is_some() {
            let lost = *self.lost.get_or_insert(lost);
            self.announce(lost);
        }
    }

    /// Whether the lock is ours at `now`, and until when; before the grant it is not lost, and may be for ever.
    pub(crate) fn check(&mut self, now: Moment) -> Result<Moment, Lost> {
        let valid_until = self.tenure.map_or(Moment::NEVER, |tenure| tenure.valid_until);
        if self.lost.is_none() && now >= valid_until {
            self.lost = Some(Lost::Expired);
        }
        match self.lost {
            Some(lost) => {
                self.announce(lost);
                Err(lost)
            }
            None => Ok(valid_until),
        }
    }

    /// The holder lets go: nothing is told from here on. Says whether the lock was held until now, and when its lease
    /// ends by itself.
    pub(crate) fn close(&mut self, now: Moment) -> Result<Moment, Lost> {
        let standing = self.check(now);
        self.closed = true;
        self.listeners.clear();
        standing.map(|_| self.tenure.map_or(Moment::NEVER, |tenure| tenure.ends))
    }

    /// `listener` is told of the loss, once; at once if it has happened. Dropped when the holder lets go.
    pub(crate) fn listen(&mut self, now: Moment, listener: L) {
        match self.check(now) {
            Ok(_) if self.closed => {}
            Ok(_) => self.listeners.push(listener),
            Err(lost) => {
                let news = self.news.get_or_insert(News { lost, listeners: Vec::new(), is_first: false });
                news.listeners.push(listener);
            }
        }
    }

    /// When to look at the clock again, so that a loss is told in time. `None`: never.
    pub(crate) fn next_look(&mut self, now: Moment) -> Option<Moment> {
        self.check(now).ok().filter(|_| !self.closed)
    }

    #[cfg(test)]
    pub(crate) fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// The loss is told, the first time.
    fn announce(&mut self, lost: Lost) {
        if !mem::replace(&mut self.closed, true) {
            self.news = Some(News { lost, listeners: mem::take(&mut self.listeners), is_first: true });
        }
    }

    /// What is to be told after a change.
    #[must_use = "somebody waits for it"]
    pub(crate) fn take_news(&mut self) -> Option<News<L>> {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Moment {
        Moment::PAST.after(1_000 * S).after(S * seconds)
    }

    /// Granted at 0 until 10; the lease ends at 12. Listened to by 1 and 2.
    fn held() -> Standing<u8> {
        let mut standing = Standing::default();
        standing.grant(at(10), at(12));
        standing.listen(at(0), 1);
        standing.listen(at(0), 2);
        assert_eq!(standing.take_news(), None);
        standing
    }

    fn first(lost: Lost, listeners: &[u8]) -> Option<News<u8>> {
        Some(News { lost, listeners: listeners.to_vec(), is_first: true })
    }

    #[test]
    fn it_is_ours_until_the_deadline_and_not_at_it() {
        let mut standing = held();
        assert_eq!(standing.check(at(10).before(Duration::from_nanos(1))), Ok(at(10)));
        assert_eq!(standing.take_news(), None);
        assert_eq!(standing.check(at(10)), Err(Lost::Expired));
        assert_eq!(standing.take_news(), first(Lost::Expired, &[1, 2]));
        assert_eq!(standing.check(at(0)), Err(Lost::Expired), "what is lost stays lost");
        assert_eq!(standing.take_news(), None, "it is told once");
    }

    #[test]
    fn a_renewal_moves_the_deadline_if_it_comes_before_it() {
        let mut standing = held();
        assert_eq!(standing.extend(at(9), at(19), at(21)), Ok(at(19)));
        assert_eq!(standing.check(at(10)), Ok(at(19)));
        assert_eq!(standing.extend(at(19), at(29), at(31)), Err(Lost::Expired));
        assert_eq!(standing.take_news(), first(Lost::Expired, &[1, 2]));
        assert_eq!(standing.check(at(19)), Err(Lost::Expired));
    }

    #[test]
    fn a_renewal_after_a_loss_does_not_undo_it() {
        let mut standing = held();
        standing.lose(Lost::Broken);
        assert_eq!(standing.extend(at(1), at(19), at(21)), Err(Lost::Broken));
        assert_eq!(standing.check(at(1)), Err(Lost::Broken));
    }

    #[test]
    fn the_first_reason_stays_and_is_told_once() {
        let mut standing = held();
        standing.lose(Lost::Broken);
        assert_eq!(standing.take_news(), first(Lost::Broken, &[1, 2]));
        standing.lose(Lost::Taken);
        assert_eq!(standing.take_news(), None);
        assert_eq!(standing.check(at(30)), Err(Lost::Broken));
    }

    #[test]
    fn who_listens_late_is_told_at_once_and_alone() {
        let mut standing = held();
        standing.lose(Lost::Broken);
        let _told = standing.take_news();
        standing.listen(at(1), 3);
        assert_eq!(standing.take_news(), Some(News { lost: Lost::Broken, listeners: vec![3], is_first: false }));
    }

    #[test]
    fn who_listens_as_the_deadline_passes_is_told_with_all_others() {
        let mut standing = held();
        standing.listen(at(10), 3);
        assert_eq!(standing.take_news(), first(Lost::Expired, &[1, 2, 3]));
    }

    #[test]
    fn a_holder_who_let_go_is_told_nothing() {
        let mut standing = held();
        assert_eq!(standing.close(at(9)), Ok(at(12)));
        standing.listen(at(9), 3);
        standing.lose(Lost::Taken);
        assert_eq!(standing.check(at(20)), Err(Lost::Taken));
        assert_eq!(standing.take_news(), None);
        assert_eq!(standing.next_look(at(9)), None);
        assert_eq!(standing.listener_count(), 0, "what listens is let go");
    }

    #[test]
    fn letting_go_after_the_deadline_is_told_as_a_loss() {
        let mut standing = held();
        assert_eq!(standing.close(at(10)), Err(Lost::Expired));
        assert_eq!(standing.take_news(), first(Lost::Expired, &[1, 2]));
    }

    #[test]
    fn nothing_is_lost_before_the_grant() {
        let mut standing: Standing<u8> = Standing::default();
        standing.lose(Lost::RenewalStopped);
        assert_eq!(standing.check(at(9)), Ok(Moment::NEVER));
        assert_eq!(standing.next_look(at(9)), Some(Moment::NEVER));
        assert_eq!(standing.take_news(), None);
    }

    #[test]
    fn the_next_look_is_at_the_deadline_until_the_loss_is_told() {
        let mut standing = held();
        assert_eq!(standing.next_look(at(3)), Some(at(10)));
        assert_eq!(standing.next_look(at(10)), None);
        assert_eq!(standing.take_news(), first(Lost::Expired, &[1, 2]));
        assert_eq!(standing.next_look(at(11)), None);
    }
}
