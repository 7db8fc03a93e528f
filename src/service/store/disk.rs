//! The store's file: one table, from an egress's id to its `EgressInfo` as protobuf.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use livekit_protocol as proto;
use prost::Message;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const EGRESSES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("egresses");

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
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(io)?;
        // It may have been made by somebody else.
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(io)?;
        drop(file);
        // What was damaged from outside is an error then, and no panic.
        let opened = Database::builder().set_check_integrity_on_open(true).create(path);
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            error => StoreError::Database { path: path.to_owned(), error: Box::new(error.into()) },
        })?;
        Ok(Self { database, path: path.to_owned() })
    }

    pub(super) fn read(&self) -> Result<BTreeMap<String, proto::EgressInfo>, StoreError> {
        self.read_all()
            .map_err(|error| StoreError::Database { path: self.path.clone(), error: Box::new(error) })
    }

    fn read_all(&self) -> Result<BTreeMap<String, proto::EgressInfo>, redb::Error> {
        let mut infos = BTreeMap::new();
        let transaction = self.database.begin_read()?;
        let table = match transaction.open_table(EGRESSES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(infos),
            Err(error) => return Err(error.into()),
        };
        for entry in table.iter()? {
            let (egress_id, bytes) = entry?;
            match proto::EgressInfo::decode(bytes.value()) {
                Ok(info) => drop(infos.insert(egress_id.value().to_owned(), info)),
                Err(error) => {
                    tracing::error!(egress_id = egress_id.value(), %error, "an egress can't be read")
                }
            }
        }
        Ok(infos)
    }

    /// Writes all of it, or nothing. On the disk when it returns.
    pub(super) fn write(&self, entries: &[(String, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        self.write_all(entries).map_err(|error| StoreError::Write(Box::new(error)))
    }

    fn write_all(&self, entries: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(EGRESSES)?;
            for (egress_id, bytes) in entries {
                match bytes {
                    Some(bytes) => drop(table.insert(egress_id.as_str(), bytes.as_slice())?),
                    None => drop(table.remove(egress_id.as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
