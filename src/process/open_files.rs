//! How many files a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit of programs that we start. They raise it themselves where they need more; one
/// that goes through all possible descriptors, as old programs do before they execute another, is
/// done soon.
const OF_CHILDREN: u64 = 4096;

/// Raises this process's soft limit to the hard one, and gives what it is then.
pub fn raise_open_files() -> u64 {
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files is not known");
            return 1024;
        }
    };
    if soft >= hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the limit of open files can't be raised");
            soft
        }
    }
}

/// The option of `prlimit` that gives a child its soft limit.
pub(super) fn of_child() -> String {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(OF_CHILDREN, |(_, hard)| hard);
    format!("--nofile={}:", OF_CHILDREN.min(hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (raised, raised));
        assert_eq!(raise_open_files(), raised);
    }
}
