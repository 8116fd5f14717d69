import json

import pytest
from corpus import write_cmu
from PIL import Image

from benchmarks.store import bench_store
from motionloom.app.gallery import write_gallery
from motionloom.data.convert import convert_take
from motionloom.data.prepare import prepare
from motionloom.data.report import corpus_report
from motionloom.data.sources import synthetic
from motionloom.data.store import Store
from motionloom.errors import DataError, RequestError


def write_synthetic(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    table = {"takes": 20, "frames": 60, "fps": 30.0, "seed": 3, **changes}
    (folder / "synthetic.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A store of two sources, with fingers and with bodies from the waist up."""
    home = tmp_path_factory.mktemp("mixed")
    raw = write_cmu(home / "cmu", clips=5)
    broken = raw / "03" / "03_01.bvh"
    broken.write_text(broken.read_text()[:-400])
    prepare({"cmu": raw, "synthetic": write_synthetic(home / "made")}, home / "store", workers=1, progress=False)
    return home / "store"


def test_the_report_counts_by_source_task_rate_and_part(mixed):
    found = corpus_report(mixed)
    assert (found["clips"], found["frames"]) == (24, 4 * 120 + 20 * 60)
    assert found["sources"]["cmu"]["clips"] == 4
    assert found["sources"]["cmu"]["refused"] == 1
    assert found["sources"]["synthetic"]["hours"] == pytest.approx(20 * 2 / 3600, abs=1e-3)
    assert found["fps"] == {"30": {"clips": 20, "hours": 0.011}, "60": {"clips": 4, "hours": 0.002}}
    assert found["parts"]["left_leg"]["clips"] == 22
    assert found["parts"]["left_arm"]["clips"] == 24
    assert found["parts"]["left_hand"]["clips"] == 5
    assert found["tasks"]["text"]["clips"] == 24
    assert found["tasks"]["music"]["clips"] == 0
    assert sum(found["refused"].values()) == 1
    assert 150 < found["bytes_per_frame"] < 600
    assert found["digest"] == Store(mixed).digest


def test_a_gallery_shows_every_source(mixed, tmp_path):
    drawn = write_gallery(Store(mixed), tmp_path / "all.png", 6)
    assert len(set(drawn)) == 6
    assert {clip.split("/")[0] for clip in drawn} == {"cmu", "synthetic"}
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.width > 1000
    with pytest.raises(RequestError, match=r"a gallery is a \.png"):
        write_gallery(Store(mixed), tmp_path / "all.bvh")


def test_synthetic_takes_are_the_same_every_time_and_of_their_parts(tmp_path):
    takes = synthetic.takes(write_synthetic(tmp_path))
    first, again = (convert_take(takes[4]).motion for _ in range(2))
    assert first.rotations.equal(again.rotations)
    assert len(first.skeleton) == 52
    upper = convert_take(takes[9]).motion
    assert not bool(upper.part_valid("left_leg").any())
    assert bool(upper.part_valid("head").all())
    assert upper.contacts is None


@pytest.mark.parametrize("changes", [{"takes": 0}, {"frames": "many"}, {"fps": 1e9}, {"seed": None}])
def test_a_wrong_table_is_refused_by_name(tmp_path, changes):
    with pytest.raises(DataError, match=r"synthetic\.json: takes"):
        synthetic.takes(write_synthetic(tmp_path, **changes))


def test_the_benchmark_of_a_store_projects_from_what_it_measured(tmp_path):
    found = bench_store(4000, workers=1, work=tmp_path)
    assert found["frames"] == 4000
    assert found["projection"]["gib"] == pytest.approx(1e8 * found["bytes_per_frame"] / 2**30, rel=1e-2)
    assert found["peak_mib"]["all"] > 50
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError, match="1 frames"):
        bench_store(1)
