"""What a measure says of its sizes: members of a batch, outputs, whatever comes first among its tensors."""

import pytest

from gatewise import EXPERTS, GATES, Mixture
from gatewise.core.experts import Expert
from gatewise.testing import draw_measure, generator


class Zero(Expert):
    """A point mass at zero: nothing to estimate."""

    def parameters(self, d):
        return {}

    def __call__(self, params, x):
        raise NotImplementedError


@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("batch", [(), (3,), (2, 4)])
@pytest.mark.parametrize(("d", "q"), [(1, 1), (3, 2), (2, 5), (6, 3)])
def test_the_number_of_outputs_has_any_batch(expert, batch, d, q):
    mixture = Mixture((GATES["laplace"], GATES["softmax"]), (2, 3), EXPERTS[expert])
    measure = draw_measure(mixture, d, d, q, generator(0)).map(lambda v: v.expand(*batch, *v.shape))
    assert mixture.outputs(measure) == q
    if batch:
        assert measure.members == batch[0]


def test_an_expert_without_parameters_does_not_determine_it():
    mixture = Mixture((GATES["softmax"],), (2,), EXPERTS["linear"])
    measure = draw_measure(mixture, 3, 3, 2, generator(0))
    with pytest.raises(ValueError, match="has no parameters"):
        Mixture((GATES["softmax"],), (2,), Zero()).outputs(measure)
