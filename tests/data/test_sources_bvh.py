import json

import pytest
import torch
from corpus import walk
from publishers import as_lafan, as_xsens, write_cm

from motionloom import licences
from motionloom.data.convert import convert_take
from motionloom.data.cuts import captions_of, labels_of, pieces_of
from motionloom.data.prepare import prepare
from motionloom.data.sources import Media, Take, Timed, bvh_sets, folder, reader, sources
from motionloom.data.store import Store, read_refused
from motionloom.errors import DataError
from motionloom.motion.edit import face_forward, on_floor
from motionloom.motion.io import save

CUTS = "STYLE_NAME,BW_START,BW_STOP,FW_START,FW_STOP,TR1_START,TR1_STOP\n"


def settled(motion, first=0, last=None):
    return face_forward(on_floor(motion.with_(rotations=motion.rotations[first:last], root=motion.root[first:last])))


def off(found, wanted):
    return float((found.positions - wanted.positions).norm(dim=-1).max())


def plain(**changes):
    from pathlib import Path

    fields = {"id": "x/a", "source": "x", "licence": licences.CC0, "path": Path("a"), "fps": None, "unit": None}
    return Take(**(fields | {"split": "train", "labels": {}} | changes))


def write_100style(path):
    for index, name in enumerate(("Aeroplane_BW", "Aeroplane_FW", "Neutral_FW")):
        write_cm(as_xsens(walk(150, index, 60.0)), path / name.split("_")[0] / f"{name}.bvh")
    (path / "Frame_Cuts.csv").write_text(CUTS + "Aeroplane,10,100,20,110,N/A,N/A\nNeutral,N/A,N/A,0,149,N/A,N/A\n")
    (path / "Dataset_List.csv").write_text("Style Name,Description\nAeroplane,Arms held out like wings.\nNeutral,\n")


def test_100style_is_cut_as_its_table_says(tmp_path):
    write_100style(tmp_path)
    takes = {take.id: take for take in bvh_sets.style100(tmp_path)}
    assert sorted(takes) == ["100style/Aeroplane_BW", "100style/Aeroplane_FW", "100style/Neutral_FW"]
    converted = convert_take(takes["100style/Aeroplane_FW"])
    found, note = converted.motion, converted.notes
    assert (len(found), found.fps) == (90, 60.0)
    assert "biovision" in note
    assert off(found, settled(walk(150, 1, 60.0), 20, 110)) < 0.03
    assert [text.text for text in takes["100style/Aeroplane_FW"].texts] == [
        "a person walks forward in the style aeroplane",
        "a person walks forward: Arms held out like wings",
    ]
    assert [text.text for text in takes["100style/Neutral_FW"].texts] == ["a person walks forward"]
    assert takes["100style/Aeroplane_BW"].split == takes["100style/Aeroplane_FW"].split


def test_a_half_unpacked_100style_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"Frame_Cuts\.csv is missing"):
        bvh_sets.style100(tmp_path)
    write_100style(tmp_path)
    (tmp_path / "Neutral" / "Neutral_FW.bvh").unlink()
    with pytest.raises(DataError, match=r"1 files of Frame_Cuts\.csv are missing: Neutral_FW\.bvh"):
        bvh_sets.style100(tmp_path)
    (tmp_path / "Frame_Cuts.csv").write_text("STYLE_NAME\nNeutral\n")
    with pytest.raises(DataError, match="names no motion"):
        bvh_sets.style100(tmp_path)


def test_lafan1_is_read_with_its_own_axes_and_its_published_test_subject(tmp_path):
    for subject in (1, 5):
        write_cm(as_lafan(walk(60, subject, 30.0)), tmp_path / f"walk1_subject{subject}.bvh")
    takes = bvh_sets.lafan1(tmp_path)
    assert [(take.split, take.texts[0].text) for take in takes] == [
        ("train", "a person walks"), ("test", "a person walks"),
    ]  # fmt: skip
    converted = convert_take(takes[1])
    found, note = converted.motion, converted.notes
    assert "'lafan1'" in note
    assert off(found, settled(walk(60, 5, 30.0))) < 0.03
    with pytest.raises(DataError, match=r"no files named ACTIONn_subjectn\.bvh"):
        bvh_sets.lafan1(tmp_path / "nowhere")


def write_folder(path, table):
    path.mkdir(exist_ok=True)
    (path / "more").mkdir(exist_ok=True)
    save(walk(200, 0, 50.0), path / "one.npz")
    save(walk(200, 1, 20.0), path / "more" / "two.npy")
    save(walk(200, 2, 20.0), path / "wordless.npz")
    (path / "captions.csv").write_text(table)


def test_a_folder_of_motions_becomes_clips_and_parts_with_captions(tmp_path):
    raw = tmp_path / "raw"
    write_folder(raw, (
        "file,text,start,stop,split,licence\n"
        'one.npz,"a person walks, then stops on the left",,,val,CC0\n'
        "one.npz,a person lifts the left foot,1.0,3.0,val,\n"
        "one.npz,the left foot goes up,1.0,3.0,,\n"
        "one.npz,a walk from start to end,0.1,3.95,,\n"
        "more/two.npy,a person walks,,,,\n"
    ))  # fmt: skip
    report = prepare({"folder": raw}, tmp_path / "store", workers=1, progress=False)
    assert (report.clips, report.refused) == (4, 0)
    store = Store(tmp_path / "store")
    clips = {clip.id: clip for clip in store.clips}
    assert sorted(clips) == ["folder/more/two.npy", "folder/one.npz", "folder/one.npz#00", "folder/wordless.npz"]
    whole, part = clips["folder/one.npz"], clips["folder/one.npz#00"]
    assert whole.captions == ("a person walks, then stops on the left", "a walk from start to end")
    assert whole.mirrored == ("a person walks, then stops on the right", "a walk from start to end")
    assert part.captions == ("a person lifts the left foot", "the left foot goes up")
    assert (whole.frames, part.frames) == (200, 100)
    assert (whole.split, part.split, whole.licence, part.licence) == ("val", "val", "CC0", "CC0")
    assert clips["folder/wordless.npz"].captions == ()
    assert off(store.motion(part), settled(walk(200, 0, 50.0), 50, 150)) < 2e-3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,text\nthree.npz,a walk\n", r"names 1 files that do not exist: three\.npz"),
        ("file,text\n../one.npz,a walk\n", r"'\.\./one\.npz' leads out of the dataset's folder"),
        ("file,words\none.npz,a walk\n", "column 'text' is missing; the columns are file, words"),
        ("file,text\none.npz,a walk,too many\n", "row 2 has 3 cells where the header has 2"),
        ("file,text,split\none.npz,a walk,dev\n", "split 'dev' is unknown; the splits are train, val, test"),
        ("file,text,split\none.npz,a,val\none.npz,b,test\n", "column 'split' says 'test' and 'val'"),
        ("file,text,start\none.npz,a walk,soon\n", "'soon' is no number"),
    ],
)
def test_a_wrong_captions_file_is_one_clear_line(tmp_path, table, message):
    write_folder(tmp_path, table)
    with pytest.raises(DataError, match=message) as error:
        folder.takes(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_captions_or_motions_says_so(tmp_path):
    with pytest.raises(DataError, match=r"captions\.csv is missing; write one with the columns file,text"):
        folder.takes(tmp_path)
    (tmp_path / "captions.csv").write_text("file,text\n")
    with pytest.raises(DataError, match="no motion files"):
        folder.takes(tmp_path)


def test_texts_beyond_the_end_are_refused_and_others_are_cut_at_it(tmp_path):
    write_folder(tmp_path, "file,text,start,stop\none.npz,late,9,12\nmore/two.npy,at the end,8,99\n")
    prepare({"folder": tmp_path}, tmp_path / "store", workers=1, progress=False)
    ((clip, reason),) = read_refused(tmp_path / "store")
    assert clip == "folder/one.npz"
    assert reason == "the text 'late' is from 9 s to 12.0 s, the motion has 4.00 s"
    assert {clip.id: clip.frames for clip in Store(tmp_path / "store").clips}["folder/more/two.npy#00"] == 40


def test_media_travel_in_the_labels_with_the_times_of_the_clip():
    words = (Timed("well", 0.5, 0.9), Timed("left", 1.5, 2.5), Timed("end", 3.0, 3.4))
    take = plain(
        action="throw a ball with the left hand",
        texts=(Timed("part", 1.0, 2.0),),
        speech=Media("wav/a.wav", offset=10.0, words=words),
        music=Media("music/m.wav"),
        valid=("head",),
    )
    whole, part = pieces_of(take, 4.0)
    assert (whole.name, whole.texts, part.name, part.texts) == ("", (), "#00", ("part",))
    labels = labels_of(take, part.start, part.stop)
    assert json.loads(labels["speech"]) == {
        "path": "wav/a.wav", "offset": 11.0, "words": [["left", 0.5, 1.0]],
    }  # fmt: skip
    assert json.loads(labels["music"]) == {"path": "music/m.wav", "offset": 1.0}
    assert captions_of(take, part.texts, mirrored=True) == ["part", "throw a ball with the right hand"]


def test_every_source_is_found_by_its_name_and_unknown_readers_are_named():
    assert all(callable(source) for source in sources().values())
    with pytest.raises(DataError, match="reader 'nonsense' is unknown"):
        reader("nonsense")


def test_feet_nobody_saw_touch_nothing(tmp_path):
    save(walk(60, 0, 20.0).with_(root=torch.tensor([0.0, 0.93, 0.0]).repeat(60, 1)), tmp_path / "a.npz")
    seen = convert_take(plain(path=tmp_path / "a.npz")).motion
    unseen = convert_take(plain(path=tmp_path / "a.npz", valid=("head", "stem"))).motion
    assert seen.contacts is not None
    assert unseen.contacts is None
