"""What the names of folders say: a split (train, test), or a place of images, or neither."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["ANSWERS", "PLACES", "SYSTEM", "is_place", "role", "roles", "says_split"]

# In the languages in which people name folders, as `plain` writes them
TRAIN = (
    "train", "training", "trn", "trainval", "learn", "trainings", "trainieren", "trainen",
    "entrainement", "apprentissage", "entrenamiento", "entreno", "addestramento", "allenamento",
    "treino", "treinamento", "traning", "trening", "træning", "trenink", "uczenie", "egitim",
    "koulutus", "latih", "latihan", "pelatihan", "обучение", "обучающая", "тренировка",
    "тренировочная", "навчання", "训练", "訓練", "学習", "훈련", "학습", "تدريب",
)  # fmt: skip
HELD_OUT = (  # the first of these that there is
    "test", "testing", "tst", "tests", "teste", "testen", "prueba", "pruebas", "prova", "provas",
    "essai", "essais", "prufung", "pruefung", "uji", "pengujian", "тест", "тестовая",
    "тестирование", "测试", "測試", "テスト", "테스트", "시험", "اختبار", "val", "valid",
    "validation", "validate", "validierung", "validacion", "validacao", "validazione", "validering",
    "validatie", "walidacja", "dogrulama", "validasi", "валидация", "валидационная", "проверка",
    "验证", "驗證", "検証", "검증", "dev", "eval", "evaluation", "evaluierung", "evaluacion",
    "avaliacao", "valutazione", "оценка", "评估", "評価", "평가", "holdout", "heldout",
)  # fmt: skip
PLACES = ("images", "image", "imgs", "img", "pictures", "photos", "files", "data", "all")
# What says that folders are parts of one whole, or versions of the same images
PARTS = (
    "set", "sets", "subset", "split", "folder", "dir", "fold", "part", "batch", "chunk", "shard",
    "ordner", "thumbs", "thumbnails", "resized", "cropped", "augmented", "processed",
    "preprocessed", "original", "originals", "full", "raw", "hr", "lr", "input", "inputs",
    "output", "outputs",
)  # fmt: skip
FILLING = {
    *PLACES, "set", "sets", "dataset", "split", "folder", "dir", "x", "daten", "datos", "dados",
    "donnees", "dati", "conjunto", "ensemble", "jeu", "menge", "de", "d", "di", "of", "the",
    "выборка", "данные", "数据", "数据集", "集", "データ", "データセット", "セット", "用データ",
    "데이터", "세트",
}  # fmt: skip
# Beside images, these hold answers drawn as images, which are no class of them.
ANSWERS = {
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentation",
    "segmentations", "groundtruth", "gt",
}  # fmt: skip
# Folders and files that systems and programs leave behind
SYSTEM = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "@tmp", "@recycle", "#recycle",
    "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "__macosx",
}  # fmt: skip
ROLE = {**dict.fromkeys(TRAIN, "train"), **dict.fromkeys(HELD_OUT, "held")}


def plain(name: str) -> str:
    """A name in small letters without accents."""
    text = name.casefold()
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(c for c in parts if not "\u0300" <= c <= "\u036f"))


def words(name: str) -> set[str]:
    """The words of a name, without numbers.

    Those of "seg_Train", "TrainSeg" and "train2017" are seg and train; train and seg; train.
    """
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    parts = plain(parts)
    found = {word for word in re.split(r"[\W_\d]+", parts) if word}
    for word in found - {*ROLE, *FILLING}:
        fused = re.fullmatch(rf"({'|'.join(ROLE)})({'|'.join(FILLING - {*'xd'})})", word)
        if fused is not None:
            found = (found - {word}) | {*fused.groups()}
    return found


def _split(name: str) -> tuple[str | None, frozenset[str]]:
    """The split in a name, and its other words: ("train", {"seg"}) of "seg_train"."""
    found = words(name)
    splits = {ROLE[word] for word in found if word in ROLE}
    rest = frozenset(found - {*ROLE} - FILLING)
    return (splits.pop() if len(splits) == 1 else None), rest


def roles(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of folders side by side that mean images to train on, and those held out.

    A name means a split if it says no more ("train", "Train_2017", "TestImages"); with another such
    beside it, also if it does ("train", "test_new"); or if all of them say the same more
    ("seg_train", "seg_test").  Those held out come with the one to take first in front.
    """
    parts = {name: _split(name) for name in names}
    named = [name for name in names if parts[name][0] is not None]
    bare = [name for name in named if not parts[name][1]]
    alike = len(named) == len(names) and len({parts[name][1] for name in named}) == 1
    if not alike and {parts[name][0] for name in named} == {"train", "held"} and bare:
        others = [name for name in named if parts[name][0] != parts[bare[0]][0]]
        bare = bare if any(name in bare for name in others) else [*bare, *others]
    meant = named if alike else bare
    train = [name for name in meant if parts[name][0] == "train"]
    held = [name for name in meant if parts[name][0] == "held"]
    held.sort(key=lambda name: min(HELD_OUT.index(w) for w in words(name) if w in HELD_OUT))
    return train, held


def role(name: str) -> str | None:
    """The split that a name means by itself, "train" or "held", or None."""
    split, rest = _split(name)
    return None if rest else split


def says_split(name: str) -> bool:
    """Whether a split is in a name, whatever its other words."""
    return _split(name)[0] is not None


def is_place(name: str) -> bool:
    """Whether a name says that images, parts of them or drawn answers lie there, and no more."""
    found = {word for word in words(name) if len(word) > 1}
    more = {"jpeg", "jpg", "png", "rgb", "class", "object", "new", "neuer"}
    known = {*PLACES, *ANSWERS, *PARTS}
    return bool(found & known) and found <= known | FILLING | more
