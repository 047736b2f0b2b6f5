"""Makes `docs/conformance.md` from the tables of the node (`make docs`)."""

from pathlib import Path

from medmtl.pacs.conformance import statement

TARGET = Path(__file__).resolve().parent.parent / "docs" / "conformance.md"
HEAD = """\
# DICOM conformance statement: the network

What `medmtl listen`, `pull` and `push` negotiate, in the terms of DICOM PS3.2. Made by `make docs` from the tables that
the node itself runs on; `medmtl listen --conformance` prints the same. How to use it stands in [pacs.md](pacs.md).

**Roles.** `listen` is one application entity that takes images (SCP), sends results (SCU) and asks for their storage
commitment (SCU). Asked for commitment itself, it commits only where `retention_days` is null, since a peer may delete
what was committed to; otherwise every instance is reported as failed (0213 for one it holds, 0112 for one it does not).

**Associations.** Only peers in `accept.peers` are let in: calling AE title, called AE title and, where given, the
address must be theirs. No asynchronous operations; no user identity. TLS 1.2 or later where the settings name
certificates; with an authority, peers need a certificate of it.

**Storage (SCP).** Level 2: every element is kept as it came, in the transfer syntax it came in. 0000 is answered when
the object is on disk (fsync) and in the queue. A700: the disk is full, or has less room than `accept.min_free_mb`;
A900: the data set is another object than its command says; C000: its header cannot be read; 0124: the peer may not
send. An object larger than `accept.max_object_mb` ends its association.

**Storage (SCU).** 0000, B000, B006 and B007 count as stored. 0122, A9xx and Cxxx are final; all else is tried again.

**Objects made.** Segmentation, Comprehensive 3D SR (TID 1500), RT Structure Set, Secondary Capture Image, Encapsulated
PDF: new series in the study of the images, whose description begins with "RESEARCH medmtl". UIDs come from the content,
so that the same study, model and settings give the same objects. A result that replaces an earlier one of fewer images
names its series in Related Series Sequence (0008,1250), an SR also in Predecessor Documents Sequence (0040,A360).

**DICOMweb (client).** QIDO-RS for studies and series (DICOM JSON), WADO-RS for whole series (`application/dicom`, any
transfer syntax), STOW-RS (`application/dicom`); each object sent is looked for in the answer.

**Character sets.** Those of the images are kept; de-identified objects use ISO_IR 192.

"""


def conformance_page() -> str:
    """The page as Markdown."""
    return HEAD + statement()


if __name__ == "__main__":
    TARGET.write_text(conformance_page(), encoding="utf-8")
