//! Steps that make a host what it shall be, each of which may be interrupted at any moment and run again.
//!
//! ```text
//!        ┌────────┐ in place ┌──────┐
//!  ─────▶│ check  ├─────────▶│ done │
//!        └───┬────┘          └──────┘
//!            │ missing          ▲
//!            ▼                  │ in place
//!        ┌────────┐          ┌──┴───┐ missing
//!        │  act   ├─────────▶│check ├────────▶ error: the step did not take
//!        └────────┘          └──────┘
//! ```
//! There is no record of finished steps: the host itself is asked. A first run, a second, and one after a crash are the
//! same code. A step may rely on those before it.

use async_trait::async_trait;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// All is as it shall be.
    InPlace,
    /// Something is to be done; says what, for the person who watches.
    Missing(String),
}

/// One step over a context `C` that the steps of one list share.
#[async_trait]
pub trait Step<C: Send + Sync>: Send + Sync {
    /// What the step is about, in a few words: "cluster CA".
    fn name(&self) -> &'static str;

    /// Looks whether the step's work is done. Changes nothing. Refuses by an error what must not be overwritten, such
    /// as another cluster's identity.
    async fn check(&self, context: &mut C) -> anyhow::Result<Finding>;

    /// Does the work. May be cut off at any point; when it is, [`Step::check`] finds the step missing.
    async fn act(&self, context: &mut C) -> anyhow::Result<()>;
}

/// Why a list of steps stopped.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("step \"{step}\" could not look at what is there")]
    Check {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("step \"{step}\" failed; run the same command again when the cause is gone: it goes on here")]
    Act {
        step: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("step \"{step}\" did its work, but still: {missing}")]
    DidNotTake { step: &'static str, missing: String },
}

/// Runs the steps in order and tells `progress` one line for each. Returns how many had something to do.
pub async fn run<C: Send + Sync>(
    steps: &[Box<dyn Step<C>>],
    context: &mut C,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<usize, StepError> {
    let mut acted = 0;
    for step in steps {
        let name = step.name();
        let check_failed = |source: anyhow::Error| StepError::Check { step: name, source: source.into() };
        let missing = match step.check(context).await.map_err(check_failed)? {
            Finding::InPlace => {
                progress(&format!("{name}: in place"));
                continue;
            }
            Finding::Missing(missing) => missing,
        };
        progress(&format!("{name}: {missing}"));
        step.act(context).await.map_err(|source| StepError::Act { step: name, source: source.into() })?;
        acted += 1;
        if let Finding::Missing(missing) = step.check(context).await.map_err(check_failed)? {
            return Err(StepError::DidNotTake { step: name, missing });
        }
    }
    Ok(acted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world of three numbers; a step brings its own to 2 in two moves, each of which may be the last before a crash.
    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    struct World {
        done: [u8; 3],
        moves_left: usize,
    }

    struct Raise {
        index: usize,
        to: u8,
    }

    #[async_trait]
    impl Step<World> for Raise {
        fn name(&self) -> &'static str {
            ["first", "second", "third"][self.index]
        }

        async fn check(&self, world: &mut World) -> anyhow::Result<Finding> {
            if self.index > 0 && world.done[self.index - 1] < 2 {
                anyhow::bail!("the step before is not done");
            }
            Ok(match world.done[self.index] {
                2 => Finding::InPlace,
                now => Finding::Missing(format!("at {now}")),
            })
        }

        async fn act(&self, world: &mut World) -> anyhow::Result<()> {
            for value in 1..=self.to {
                if world.moves_left == 0 {
                    anyhow::bail!("power cut");
                }
                world.moves_left -= 1;
                world.done[self.index] = value;
            }
            Ok(())
        }
    }

    fn steps(to: u8) -> Vec<Box<dyn Step<World>>> {
        (0..3).map(|index| Box::new(Raise { index, to }) as Box<dyn Step<World>>).collect()
    }

    async fn run_quietly(steps: &[Box<dyn Step<World>>], world: &mut World) -> Result<usize, StepError> {
        run(steps, world, &mut |_| ()).await
    }

    #[tokio::test]
    async fn interrupted_anywhere_and_run_again_the_end_is_the_same() {
        for cut_after in 0..6 {
            let mut world = World { moves_left: cut_after, ..World::default() };
            let error = run_quietly(&steps(2), &mut world).await.unwrap_err();
            assert!(matches!(error, StepError::Act { .. }), "{error}");
            world.moves_left = 100;
            run_quietly(&steps(2), &mut world).await.unwrap();
            assert_eq!(world.done, [2, 2, 2], "cut after {cut_after}");
        }
    }

    #[tokio::test]
    async fn a_second_run_does_nothing_and_says_so() {
        let mut world = World { moves_left: 100, ..World::default() };
        assert_eq!(run_quietly(&steps(2), &mut world).await.unwrap(), 3);
        world.moves_left = 0;
        let mut lines = Vec::new();
        let acted = run(&steps(2), &mut world, &mut |line| lines.push(line.to_owned())).await;
        assert_eq!(acted.unwrap(), 0);
        assert_eq!(lines, ["first: in place", "second: in place", "third: in place"]);
    }

    #[tokio::test]
    async fn a_step_that_does_not_take_stops_the_list() {
        let mut world = World { moves_left: 100, ..World::default() };
        let error = run_quietly(&steps(1), &mut world).await.unwrap_err();
        assert_eq!(error.to_string(), "step \"first\" did its work, but still: at 1");
        assert_eq!(world.done, [1, 0, 0]);
    }
}
