//! Work that goes on beside the requests: a set of named tasks, of which the first to fail ends the
//! process. A gateway whose reaper died quietly would be worse than one that exits.

pub mod beat;
pub mod reaper;
pub mod sampler;
pub mod supervisor;
pub mod watchdog;

use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The tasks of a process.
#[derive(Debug)]
pub struct TaskSet {
    tasks: JoinSet<&'static str>,
    stop: CancellationToken,
}

/// A task that ended without being told to.
#[derive(Debug, Error)]
pub enum TaskError {
    #[error("the task {0} ended")]
    Ended(&'static str),
    #[error("a task panicked")]
    Panicked(#[source] tokio::task::JoinError),
    #[error("tasks did not stop within {0:?}")]
    Stuck(Duration),
}

impl Default for TaskSet {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), stop: CancellationToken::new() }
    }
}

impl TaskSet {
    /// Starts a task, which returns once its token is cancelled, and not before.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl FnOnce(CancellationToken) -> F,
    ) {
        let task = task(self.stop.clone());
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// Completes when a task ends that was not told to.
    pub async fn failed(&mut self) -> TaskError {
        match self.tasks.join_next().await {
            Some(Ok(name)) => TaskError::Ended(name),
            Some(Err(error)) => TaskError::Panicked(error),
            None => std::future::pending().await,
        }
    }

    /// Stops all tasks and waits for them.
    pub async fn stop(mut self, grace: Duration) -> Result<(), TaskError> {
        self.stop.cancel();
        let join = async {
            while let Some(joined) = self.tasks.join_next().await {
                joined.map_err(TaskError::Panicked)?;
            }
            Ok(())
        };
        tokio::time::timeout(grace, join).await.unwrap_or(Err(TaskError::Stuck(grace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_named() {
        let mut tasks = TaskSet::default();
        tasks.spawn("patient", |stop| async move { stop.cancelled().await });
        tasks.spawn("hasty", |_| async {});
        assert_eq!(tasks.failed().await.to_string(), "the task hasty ended");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed() {
        let mut tasks = TaskSet::default();
        tasks.spawn("broken", |_| async { panic!("on purpose") });
        assert!(matches!(tasks.failed().await, TaskError::Panicked(_)));
    }

    #[tokio::test]
    async fn tasks_stop_when_told() {
        let mut tasks = TaskSet::default();
        tasks.spawn("patient", |stop| async move { stop.cancelled().await });
        tasks.stop(Duration::from_secs(10)).await.unwrap();
    }
}
