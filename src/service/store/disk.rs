//! The store's file: a table from an egress's id to its `EgressInfo` as protobuf, and one of those
//! whose end is untold.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use livekit_protocol as proto;
use prost::Message;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::Entry;
use crate::files;

const EGRESSES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("egresses");
const UNTOLD: TableDefinition<'_, &str, ()> = TableDefinition::new("untold");

/// Every egress by its id, and whose end is untold.
type Contents = (BTreeMap<String, proto::EgressInfo>, BTreeSet<String>);

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}; is its directory there, and may it be written to?", .path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}; move the file away to begin with an empty store", .path.display())]
    Database { path: PathBuf, error: Box<redb::Error> },
    #[error("another service uses {}; give each a work directory of its own", .path.display())]
    InUse { path: PathBuf },
    #[error("{0}")]
    Write(Box<redb::Error>),
    #[error("opening the store broke off")]
    BrokeOff,
}

#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
    path: PathBuf,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let io = |error| StoreError::File { path: path.to_owned(), error };
        let mut options = files::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = files::open(path, &options).map_err(io)?;
        // It may have been made by somebody else.
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(io)?;
        // What was damaged from outside is an error then, and no panic. The file itself: its name
        // may lead elsewhere by now.
        let opened = FileBackend::new(file).and_then(|backend| {
            Database::builder().set_check_integrity_on_open(true).create_with_backend(backend)
        });
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            error => StoreError::Database { path: path.to_owned(), error: Box::new(error.into()) },
        })?;
        Ok(Self { database, path: path.to_owned() })
    }

    pub(super) fn read(&self) -> Result<Contents, StoreError> {
        self.read_all()
            .map_err(|error| StoreError::Database { path: self.path.clone(), error: Box::new(error) })
    }

    fn read_all(&self) -> Result<Contents, redb::Error> {
        let (mut infos, mut untold) = Contents::default();
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(EGRESSES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok((infos, untold)),
            Err(error) => return Err(error.into()),
        };
        for entry in table.iter()? {
            let (egress_id, bytes) = entry?;
            match proto::EgressInfo::decode(bytes.value()) {
                Ok(info) => drop(infos.insert(egress_id.value().to_owned(), info)),
                Err(error) => {
                    tracing::error!(egress_id = egress_id.value(), %error, "egress unreadable in the store")
                }
            }
        }
        // Made with the other, by the same commit.
        for entry in transaction.open_table(UNTOLD)?.iter()? {
            untold.insert(entry?.0.value().to_owned());
        }
        Ok((infos, untold))
    }

    /// Writes all of it, or nothing. On the disk when it returns.
    pub(super) fn write(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.write_all(entries).map_err(|error| StoreError::Write(Box::new(error)))
    }

    fn write_all(&self, entries: &[Entry]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut infos = transaction.open_table(EGRESSES)?;
            let mut untold = transaction.open_table(UNTOLD)?;
            for Entry { egress_id, info, is_untold } in entries {
                match info {
                    Some(info) => drop(infos.insert(egress_id.as_str(), info.as_slice())?),
                    None => drop(infos.remove(egress_id.as_str())?),
                }
                if *is_untold {
                    untold.insert(egress_id.as_str(), ())?;
                } else {
                    untold.remove(egress_id.as_str())?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
