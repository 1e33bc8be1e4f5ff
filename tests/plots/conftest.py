import pytest

from gatewise import MixtureOfExpertsRegressor, data


@pytest.fixture(scope="session")
def tone():
    loaded = data.load("tone")
    return loaded.X.to_numpy(float), loaded.y.to_numpy(float)


@pytest.fixture(scope="session")
def flat(tone):
    return MixtureOfExpertsRegressor(2, n_init=2, random_state=0).fit(*tone)


@pytest.fixture(scope="session")
def plane():
    frame = data.load("nregfix").frame
    X, y = frame[["x1", "x2"]].to_numpy(float), frame["y"].to_numpy(float)
    return X, y, MixtureOfExpertsRegressor(3, n_init=3, random_state=0).fit(X, y)
