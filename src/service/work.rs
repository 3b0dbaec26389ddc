//! The work of a call: [`Call::run`] ends it at the call's deadline and with the drain, and tells
//! the call how it ended.
//!
//! It is a future written by hand, which holds the work once. An `async fn` with the work as its
//! argument would hold it twice, as the argument and as a variable. Several of these, one inside
//! the other, made the future of a call 54 KB.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout, timeout_at};

use super::call::Call;
use crate::error::{Error, Result};

pin_project! {
    /// Completes with the result of `work`, or with the error that ends the call before. A failure
    /// ends the call. See [`Call::run`] and [`Call::run_part`].
    pub struct Work<'a, F> {
        call: &'a Call,
        is_whole: bool,
        #[pin]
        work: MaybeTimeout<F>,
    }
}

pin_project! {
    #[project = MaybeTimeoutProjection]
    enum MaybeTimeout<F> {
        Timeout { #[pin] work: Timeout<F> },
        NoTimeout { #[pin] work: F },
    }
}

impl Call {
    /// Runs all the work of a call: until its end, its deadline, or the end of the drain.
    ///
    /// # Errors
    /// Those of `work`; [`Kind::Timeout`](crate::error::Kind::Timeout) at the deadline;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) at the end of the drain. The error is
    /// logged with its cause, which the caller is not told.
    pub(super) fn run<T, F: Future<Output = Result<T>>>(&self, work: F) -> Work<'_, F> {
        Work::whole(self, work)
    }

    /// Runs a part of a call's work that others follow. A failure ends the call. If `work` succeeds
    /// the call goes on, until [`finish`](Self::finish) or [`fail`](Self::fail) ends it.
    ///
    /// # Errors
    /// See [`run`](Self::run).
    pub fn run_part<T, F: Future<Output = Result<T>>>(&self, work: F) -> Work<'_, F> {
        Work::part(self, work)
    }
}

impl<'a, F> Work<'a, F> {
    /// All the work of `call`.
    fn whole(call: &'a Call, work: F) -> Self
    where
        F: Future,
    {
        Self {
            is_whole: true,
            ..Self::part(call, work)
        }
    }

    /// A part of the work of `call`, that others follow.
    fn part(call: &'a Call, work: F) -> Self
    where
        F: Future,
    {
        Self {
            call,
            is_whole: false,
            work: MaybeTimeout::new(call.deadline, work),
        }
    }
}

impl<F: Future> MaybeTimeout<F> {
    fn new(deadline: Option<Instant>, work: F) -> Self {
        match deadline {
            Some(deadline) => Self::Timeout {
                work: timeout_at(deadline, work),
            },
            None => Self::NoTimeout { work },
        }
    }
}

impl<T, F: Future<Output = Result<T>>> Future for Work<'_, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.project();
        let result = match this.work.poll(context) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ready!(this.call.poll_cut(context))),
        };
        match &result {
            Ok(_) if *this.is_whole => this.call.finish(),
            Ok(_) => {}
            Err(error) => this.call.fail(error),
        }
        Poll::Ready(result)
    }
}

impl<T, F: Future<Output = Result<T>>> Future for MaybeTimeout<F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match self.project() {
            MaybeTimeoutProjection::Timeout { work } => Poll::Ready(
                ready!(work.poll(context))
                    .unwrap_or_else(|_| Err(Error::deadline_exceeded("the answer was complete"))),
            ),
            MaybeTimeoutProjection::NoTimeout { work } => work.poll(context),
        }
    }
}
