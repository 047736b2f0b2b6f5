import json
from pathlib import Path

from click.testing import CliRunner

from medmtl.cli.bench import bench
from sample_data.phantoms import write_nifti
from tests.tiny import heart_volume, write_bundle


def test_engines_are_timed_in_turn_and_agree(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    volume = heart_volume()
    write_nifti(tmp_path / "a.nii.gz", volume.array, volume.grid)
    call = ["-m", str(bundle.folder), "-i", str(tmp_path / "a.nii.gz"), "--rounds", "1"]
    done = CliRunner().invoke(bench, [*call, "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)
    assert {"openvino float32", "torch float32"} <= set(rows)
    for row in rows.values():
        assert row["seconds"] > 0
        assert set(row["stages"]) == {"preparing", "network", "blending and label maps"}
    assert rows["openvino float32"]["same"] == 1.0
    assert rows["torch float32"]["same"] > 0.99
    text = CliRunner().invoke(bench, call).output
    assert text.startswith("tiny on 32 x 32 x 6 voxels")
    assert CliRunner().invoke(bench, ["-m", "nothing", "-i", str(tmp_path)]).exit_code == 2
