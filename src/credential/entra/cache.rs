//! One token for all clones of a credential.
//!
//! A token is fetched on a thread of its own, one fetch at a time, and ahead of time: at half of its life, while the
//! one at hand goes on serving. So no renewal of a lease waits for a token, and an outage of the tokens' source that is
//! shorter than half a token's life is not even felt. There is no timer: a token that nobody uses is not renewed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::source::{AccessToken, TokenError, TokenSource};
use crate::clock::{self, Moment};
use crate::random::Jitter;
use crate::redact::Secret;

/// Less is no life for a token, and would have it fetched again and again.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// It goes into a request's head, together with all else.
const LONGEST_TOKEN: usize = 12 * 1024;
/// A second refusal within this time is final. Not
/// for so long that a lease would run out meanwhile, should it be a second mishap.
const FORCE_AGAIN: Duration = Duration::from_secs(10);

/// A token that was good when it was handed out.
pub(crate) struct Token {
    text: Secret,
    good_until: Moment,
    refresh_at: Moment,
    fetched: Moment,
    /// It was fetched because the service had rejected the one before.
    forced: bool,
}

impl Token {
    pub(crate) fn text(&self) -> &str {
        self.text.reveal()
    }
}

/// Why there is no token in time.
pub(crate) struct NoToken {
    pub(crate) error: TokenError,
    /// When the source is asked again.
    pub(crate) retry_after: Duration,
    /// Time was up before the source answered.
    pub(crate) is_late: bool,
}

/// The token is not renewed, though the one at hand still serves.
pub(crate) struct Failing {
    /// Grows with each row of failures: 1 is the first.
    pub(crate) row: u64,
    /// How long the token at hand is still good.
    pub(crate) left: Duration,
    pub(crate) why: NoToken,
}

pub(crate) struct TokenCache(Arc<Shared>);

struct Shared {
    source: Arc<dyn TokenSource>,
    ledger: Mutex<Ledger>,
    /// A fetch has ended.
    ended: Condvar,
}

impl TokenCache {
    pub(crate) fn new(source: Arc<dyn TokenSource>) -> TokenCache {
        let ledger = Mutex::new(Ledger::new(Jitter::random()));
        TokenCache(Arc::new(Shared { source, ledger, ended: Condvar::new() }))
    }

    pub(crate) fn source(&self) -> &Arc<dyn TokenSource> {
        &self.0.source
    }

    /// A token that is good now. If there is none, waits for one that is being fetched, no longer than `limit`.
    pub(crate) fn token(&self, limit: Duration) -> Result<Arc<Token>, NoToken> {
        let end = clock::now().after(limit);
        let mut ledger = self.0.ledger();
        loop {
            let now = clock::now();
            if ledger.begin(now) {
                self.0.fetch(&mut ledger);
            }
            match ledger.look_up(now) {
                Lookup::Have(token) => return Ok(token),
                Lookup::Failed(no_token) => return Err(no_token),
                Lookup::Wait if now >= end => return Err(ledger.late(self.source().limit())),
                Lookup::Wait => {
                    let waited = self.0.ended.wait_timeout(ledger, end.left(now));
                    ledger = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Whether the token at hand could not be renewed, when that was tried last. Never waits.
    pub(crate) fn failing(&self) -> Option<Failing> {
        self.0.ledger().failing(clock::now())
    }

    /// The service rejected `token`. Whether it makes sense to try again with another, which the next
    /// [`token`](TokenCache::token) is.
    pub(crate) fn rejected(&self, token: &Arc<Token>) -> bool {
        self.0.ledger().rejected(clock::now(), token)
    }
}

impl Shared {
    /// Starts the fetch that has just begun.
    fn fetch(self: &Arc<Shared>, ledger: &mut Ledger) {
        let shared = self.clone();
        let run = move || {
            let fetch = Fetch(shared);
            let result = fetch.0.source.fetch();
            fetch.0.ledger().fetched(clock::now(), result);
        };
        // Without a limit for its stack: a caller's own source runs there.
        if let Err(error) = std::thread::Builder::new().name("azmutex-token".into()).spawn(run) {
            ledger.fetched(clock::now(), Err(TokenError::passing(error)));
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a fetch, whatever way; on its own thread, since it locks the ledger.
struct Fetch(Arc<Shared>);

impl Drop for Fetch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let panicked = TokenError::passing("the token source panicked");
            self.0.ledger().fetched(clock::now(), Err(panicked));
        }
        self.0.ended.notify_all();
    }
}

/// What is known of the token, and what is to be done about it: pure, given the time.
struct Ledger {
    token: Option<Arc<Token>>,
    fetching: bool,
    /// The service rejected the last token.
    forced: bool,
    failures: u32,
    failure: Option<TokenError>,
    /// How many rows of failures there were, the present one included.
    rows: u64,
    /// No fetch begins before.
    not_before: Moment,
    jitter: Jitter,
}

enum Lookup {
    Have(Arc<Token>),
    Wait,
    Failed(NoToken),
}

impl Ledger {
    fn new(jitter: Jitter) -> Ledger {
        Ledger {
            token: None,
            fetching: false,
            forced: false,
            failures: 0,
            failure: None,
            rows: 0,
            not_before: Moment::PAST,
            jitter,
        }
    }

    fn good(&self, now: Moment) -> Option<&Arc<Token>> {
        self.token.as_ref().filter(|token| now < token.good_until)
    }

    /// Whether a fetch is due. From here on, until [`fetched`](Ledger::fetched), it is under way.
    fn begin(&mut self, now: Moment) -> bool {
        let wanted = self.good(now).is_none_or(|token| now >= token.refresh_at);
        let begin = wanted && !self.fetching && now >= self.not_before;
        self.fetching |= begin;
        begin
    }

    fn failing(&self, now: Moment) -> Option<Failing> {
        let (token, failure) = (self.good(now)?, self.failure.as_ref()?);
        let why = self.failed(failure, now);
        Some(Failing { row: self.rows, left: token.good_until.left(now), why })
    }

    fn look_up(&self, now: Moment) -> Lookup {
        match (self.good(now), &self.failure) {
            (Some(token), _) => Lookup::Have(token.clone()),
            (None, Some(failure)) if !self.fetching => Lookup::Failed(self.failed(failure, now)),
            (None, _) => Lookup::Wait,
        }
    }

    fn failed(&self, failure: &TokenError, now: Moment) -> NoToken {
        NoToken { error: failure.clone(), retry_after: self.not_before.left(now), is_late: false }
    }

    /// For whoever can wait no longer for a source that may take so long. What it said last tells more than its silence.
    fn late(&self, limit: Option<Duration>) -> NoToken {
        let limit = limit.map_or_else(String::new, |limit| format!(", and may take {limit:?}"));
        let before = self.failure.as_ref().map_or_else(String::new, |failure| format!("; before that: {failure}"));
        let error = TokenError::passing(format!("it has not answered in time{limit}{before}"));
        NoToken { error, retry_after: Duration::ZERO, is_late: true }
    }

    fn fetched(&mut self, now: Moment, result: Result<AccessToken, TokenError>) {
        self.fetching = false;
        match result.and_then(|token| self.accept(now, token)) {
            Ok(token) => {
                self.token = Some(Arc::new(token));
                self.forced = false;
                self.failures = 0;
                self.failure = None;
                self.not_before = Moment::PAST;
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.rows += u64::from(self.failure.is_none());
                let left = self.good(now).map_or(Duration::ZERO, |token| token.good_until.left(now));
                self.not_before = now.after(error.pause(self.failures, left, self.jitter.next()));
                self.failure = Some(error);
            }
        }
    }

    fn accept(&self, now: Moment, token: AccessToken) -> Result<Token, TokenError> {
        let AccessToken { text, good_until } = token;
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits(text.reveal()) || text.reveal().len() > LONGEST_TOKEN {
            return Err(TokenError::definite("it gave something that is no token"));
        }
        let life = good_until.left(now);
        if life < LEAST_LIFE {
            return Err(TokenError::passing("it gave a token that is at its end"));
        }
        // That is at least five minutes before the end of any that lasts for ten.
        let refresh_at = now.after(life / 2);
        Ok(Token { text, good_until, refresh_at, fetched: now, forced: self.forced })
    }

    fn rejected(&mut self, now: Moment, token: &Arc<Token>) -> bool {
        let current = self.token.as_ref().is_some_and(|current| Arc::ptr_eq(current, token));
        if current && token.forced && now.since(token.fetched) < FORCE_AGAIN {
            return false;
        }
        if current {
            self.token = None;
            self.forced = true;
            // While it served, there was more time between two tries.
            let pause = self.failure.as_ref().map(|error| error.pause(self.failures, Duration::ZERO, 0));
            self.not_before = self.not_before.min(now.after(pause.unwrap_or_default()));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crossbeam_channel::{bounded, unbounded};

    use super::*;
    use crate::testing::settable::SettableClock;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Moment {
        Moment::PAST.after(HOUR)
    }

    fn token(now: Moment, life: Duration) -> AccessToken {
        AccessToken::counted_from(now, format!("{life:?}"), life)
    }

    fn ledger() -> Ledger {
        Ledger::new(Jitter::new(7))
    }

    /// One that has a token of this life since `start`.
    fn with(life: Duration) -> Ledger {
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        ledger.fetched(start(), Ok(token(start(), life)));
        ledger
    }

    fn have(ledger: &Ledger, now: Moment) -> Option<Arc<Token>> {
        match ledger.look_up(now) {
            Lookup::Have(token) => Some(token),
            Lookup::Wait | Lookup::Failed(_) => None,
        }
    }

    #[test]
    fn it_is_fetched_once_and_again_at_half_of_its_life() {
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        assert!(!ledger.begin(start()), "one at a time");
        assert!(matches!(ledger.look_up(start()), Lookup::Wait));
        ledger.fetched(start(), Ok(token(start(), HOUR)));
        assert!(!ledger.begin(start().after(HOUR / 2 - SECOND)));
        assert!(ledger.begin(start().after(HOUR / 2)));
        assert!(!ledger.begin(start().after(HOUR / 2 + SECOND)));
        assert_eq!(have(&ledger, start().after(HOUR - SECOND)).unwrap().text(), "3600s", "the old one serves");
        assert!(have(&ledger, start().after(HOUR)).is_none());
    }

    #[test]
    fn a_source_that_gives_the_same_token_again_is_asked_ever_sooner() {
        let mut ledger = with(HOUR);
        let mut now = start();
        for asked_at in [1800, 2700, 3150, 3375] {
            now = start().after(asked_at * SECOND);
            assert!(!ledger.begin(now.before(SECOND)));
            assert!(ledger.begin(now));
            ledger.fetched(now, Ok(token(start(), HOUR)));
        }
        assert!(have(&ledger, now).is_some());
    }

    #[test]
    fn failures_are_repeated_with_growing_pauses_while_the_old_token_serves() {
        let mut ledger = with(HOUR);
        let mut now = start().after(HOUR / 2);
        let mut last = Duration::ZERO;
        for failures in 1..20_u32 {
            assert!(ledger.begin(now));
            ledger.fetched(now, Err(TokenError::passing("down")));
            assert!(have(&ledger, now).is_some());
            let pause = ledger.not_before.left(now);
            assert!(pause >= SECOND / 4 && pause <= 30 * SECOND, "{pause:?}");
            assert!(failures > 6 || pause > last / 2, "{pause:?} after {last:?}");
            assert!(!ledger.begin(now.after(pause).before(SECOND / 1000)));
            (last, now) = (pause, now.after(pause));
        }
        let dead = start().after(HOUR);
        match ledger.look_up(dead) {
            Lookup::Failed(no_token) => assert_eq!(no_token.error.to_string(), "down"),
            Lookup::Have(_) | Lookup::Wait => panic!("it has ended"),
        }
        assert!(ledger.begin(dead));
        ledger.fetched(dead, Ok(token(dead, HOUR)));
        assert!(have(&ledger, dead).is_some());
        assert_eq!((ledger.failures, ledger.not_before), (0, Moment::PAST));
    }

    #[test]
    fn whoever_can_wait_no_longer_is_told_what_the_source_said_last() {
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        let late = ledger.late(None);
        assert!(late.is_late && late.error.is_passing());
        assert_eq!(late.error.to_string(), "it has not answered in time");
        ledger.fetched(start(), Err(TokenError::passing("down")));
        assert_eq!(
            ledger.late(Some(10 * SECOND)).error.to_string(),
            "it has not answered in time, and may take 10s; before that: down"
        );
    }

    #[test]
    fn a_row_of_failures_is_told_while_the_old_token_serves() {
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        ledger.fetched(start(), Err(TokenError::passing("down")));
        assert!(ledger.failing(start()).is_none(), "without a token that is an error of the request's");
        ledger.not_before = Moment::PAST;
        assert!(ledger.begin(start()));
        ledger.fetched(start(), Ok(token(start(), HOUR)));
        assert!(ledger.failing(start()).is_none());
        let mut rows = Vec::new();
        for (minute, fails) in [(30, true), (31, true), (32, false), (50, true), (51, true)] {
            let now = start().after(minute * 60 * SECOND);
            ledger.not_before = Moment::PAST;
            assert!(ledger.begin(now));
            // The same token, as some sources do.
            let answer = if fails { Err(TokenError::definite("no")) } else { Ok(token(start(), HOUR)) };
            ledger.fetched(now, answer);
            let failing = ledger.failing(now);
            assert_eq!(failing.is_some(), fails);
            if let Some(Failing { row, left, why }) = failing {
                assert_eq!((left, why.error.to_string().as_str()), ((60 - minute) * 60 * SECOND, "no"));
                rows.push(row);
            }
        }
        assert_eq!(rows, [2, 2, 3, 3]);
        assert!(ledger.failing(start().after(HOUR)).is_none(), "it has ended");
    }

    #[test]
    fn when_the_old_token_ends_a_source_that_failed_is_soon_asked_again() {
        let mut ledger = with(HOUR);
        let end = start().after(HOUR);
        ledger.failures = 100;
        for before in [20, 10, 1, 0] {
            ledger.not_before = Moment::PAST;
            let now = end.before(before * SECOND);
            assert!(ledger.begin(now));
            ledger.fetched(now, Err(TokenError::passing("down")));
            assert!(ledger.not_before <= end.after(2 * SECOND), "{before} s before");
        }
    }

    #[test]
    fn a_source_that_asks_to_be_left_alone_is() {
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        ledger.fetched(start(), Err(TokenError::passing("busy").retry_after(30 * SECOND)));
        assert!(!ledger.begin(start().after(29 * SECOND)));
        match ledger.look_up(start().after(10 * SECOND)) {
            Lookup::Failed(no_token) => assert_eq!(no_token.retry_after, 20 * SECOND),
            Lookup::Have(_) | Lookup::Wait => panic!("there is none"),
        }
        assert!(ledger.begin(start().after(30 * SECOND)));
    }

    #[test]
    fn a_rejected_token_is_replaced_once() {
        let mut ledger = with(HOUR);
        let now = start().after(SECOND);
        let first = have(&ledger, now).unwrap();
        assert!(ledger.rejected(now, &first));
        assert!(ledger.begin(now), "at once");
        ledger.fetched(now, Ok(token(now, HOUR)));
        assert!(ledger.rejected(now, &first), "the other one has not been tried");
        let second = have(&ledger, now).unwrap();
        assert!(!ledger.rejected(now, &second), "that is an answer");
        assert!(have(&ledger, now).is_some());
        let later = now.after(FORCE_AGAIN);
        assert!(ledger.rejected(later, &second), "much may have changed since");
        assert!(ledger.begin(later));
    }

    #[test]
    fn a_rejected_token_is_replaced_soon_whatever_failed_while_it_served() {
        let mut ledger = with(HOUR);
        let now = start().after(HOUR / 2);
        ledger.failures = 100;
        assert!(ledger.begin(now));
        ledger.fetched(now, Err(TokenError::passing("down")));
        let token = have(&ledger, now).unwrap();
        assert!(ledger.rejected(now, &token));
        assert!(!ledger.begin(now), "it has just failed");
        assert!(ledger.begin(now.after(2 * SECOND)), "a lease is running out");

        let mut ledger = with(HOUR);
        assert!(ledger.begin(now));
        ledger.fetched(now, Err(TokenError::passing("busy").retry_after(30 * SECOND)));
        let token = have(&ledger, now).unwrap();
        assert!(ledger.rejected(now.after(10 * SECOND), &token));
        assert!(!ledger.begin(now.after(29 * SECOND)), "it asked to be left alone");
        assert!(ledger.begin(now.after(30 * SECOND)), "and for no longer than that");
    }

    #[test]
    fn what_is_no_token_is_a_failure() {
        for (text, life) in [("", HOUR), ("a b", HOUR), ("a\r\nb", HOUR), ("é", HOUR), ("a", Duration::ZERO)] {
            let mut ledger = ledger();
            assert!(ledger.begin(start()));
            ledger.fetched(start(), Ok(AccessToken::counted_from(start(), text.into(), life)));
            assert!(matches!(ledger.look_up(start()), Lookup::Failed(_)), "{text:?}");
            assert!(!ledger.begin(start()), "not in a loop");
        }
        let mut ledger = ledger();
        assert!(ledger.begin(start()));
        ledger.fetched(start(), Ok(AccessToken::counted_from(start(), "x".repeat(LONGEST_TOKEN + 1), HOUR)));
        assert!(matches!(ledger.look_up(start()), Lookup::Failed(_)));
    }

    #[test]
    fn a_token_without_an_end_is_never_fetched_again() {
        let mut ledger = with(Duration::MAX);
        assert!(!ledger.begin(start().after(100_000 * HOUR)));
    }

    fn cache(source: impl TokenSource) -> TokenCache {
        TokenCache::new(Arc::new(source))
    }

    #[test]
    fn whoever_comes_during_a_fetch_waits_for_its_end() {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = fetches.clone();
        let (go, gate) = bounded::<()>(0);
        let cache = Arc::new(cache(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = gate.recv();
            Ok(AccessToken::new("a", HOUR))
        }));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let cache = cache.clone();
                std::thread::spawn(move || cache.token(20 * SECOND).map(|token| token.text().to_owned()))
            })
            .collect();
        clock::sleep(SECOND / 10);
        drop(go);
        for thread in threads {
            assert_eq!(thread.join().unwrap().ok().unwrap(), "a");
        }
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_source_that_hangs_costs_the_limit_and_is_not_asked_twice() {
        let (asked, asks) = unbounded();
        let (go, gate) = bounded::<()>(0);
        let cache = cache(move || {
            let _ = asked.send(());
            let _ = gate.recv();
            Ok(AccessToken::new("late", HOUR))
        });
        for _ in 0..3 {
            let begun = clock::now();
            let no_token = cache.token(SECOND / 5).err().unwrap();
            assert!(no_token.error.is_passing());
            let took = clock::now().since(begun);
            assert!(took >= SECOND / 5 && took < 5 * SECOND, "{took:?}");
        }
        drop(go);
        assert_eq!(cache.token(20 * SECOND).ok().unwrap().text(), "late");
        assert_eq!(asks.try_iter().count(), 1);
    }

    #[test]
    fn a_refresh_is_not_waited_for() {
        let Some(clock) = SettableClock::alone(a_refresh_is_not_waited_for) else { return };
        let (go, gate) = bounded::<()>(0);
        let first = AtomicUsize::new(0);
        let cache = cache(move || {
            if first.fetch_add(1, Ordering::Relaxed) > 0 {
                let _ = gate.recv();
                return Ok(AccessToken::new("new", HOUR));
            }
            Ok(AccessToken::new("old", HOUR))
        });
        assert_eq!(cache.token(20 * SECOND).ok().unwrap().text(), "old");
        clock.suspend(HOUR / 2);
        let begun = clock::now();
        assert_eq!(cache.token(20 * SECOND).ok().unwrap().text(), "old");
        assert!(clock::now().since(begun) < 10 * SECOND);
        drop(go);
        let end = clock::now().after(20 * SECOND);
        while cache.token(SECOND).ok().unwrap().text() == "old" {
            assert!(clock::now() < end);
            clock::sleep(SECOND / 100);
        }
    }

    #[test]
    fn a_source_that_panics_has_failed() {
        let cache = cache(|| panic!("on purpose"));
        let no_token = cache.token(20 * SECOND).err().unwrap();
        assert_eq!(no_token.error.to_string(), "the token source panicked");
        assert!(no_token.error.is_passing());
    }
}
