# Looks into an Azure blob service: ENDPOINT ACCOUNT KEY make|put|get|list|head CONTAINER [BLOB]
import json
import sys

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

endpoint, account, key, what, container = sys.argv[1:6]
service = BlobServiceClient(
    endpoint,
    credential={"account_name": account, "account_key": key},
    # The client's own is newer than what Azurite knows.
    api_version="2025-05-05",
)
container = service.get_container_client(container)
match what:
    case "make":
        container.create_container()
    case "put":
        container.get_blob_client(sys.argv[6]).upload_blob(sys.stdin.buffer.read())
    case "get":
        container.get_blob_client(sys.argv[6]).download_blob().readinto(sys.stdout.buffer)
    case "list":
        print(json.dumps(sorted(blob.name for blob in container.list_blobs())))
    case "head":
        try:
            found = container.get_blob_client(sys.argv[6]).get_blob_properties()
        except ResourceNotFoundError:
            print("{}")
        else:
            print(
                json.dumps(
                    {
                        "length": found.size,
                        "content_type": found.content_settings.content_type,
                        "disposition": found.content_settings.content_disposition,
                        "metadata": found.metadata,
                    }
                )
            )
    case _:
        sys.exit(f"{what}?")
