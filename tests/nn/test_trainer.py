"""The Trainer of transformers, unmodified, trains a model with replaced networks, auxiliary loss included."""

import pytest
import torch

from gatewise.nn import MoE
from gatewise.nn.convert import replace_ffn
from gatewise.nn.padding import follow_mask

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
load_file = pytest.importorskip("safetensors.torch").load_file

pytestmark = [
    # the data loader of the Trainer asks for pinned memory, which a machine without a GPU has not
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning"),
]

OPTIONS = {"n_experts": 4, "gate": "laplace", "jitter": 0.1}


def sequence(i):
    """Numbers that count upwards, padded on the right."""
    ids = (torch.arange(12) * (1 + i % 3) + i) % 31
    mask = (torch.arange(12) < 12 - i % 4).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.where(mask == 1, ids, -100)}


TEXT = [sequence(i) for i in range(32)]


def config():
    return transformers.GPT2Config(
        vocab_size=31, n_positions=16, n_embd=16, n_head=2, n_layer=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )


def model(**options):
    torch.manual_seed(0)
    made = transformers.GPT2LMHeadModel(config())
    replace_ffn(made, "*.mlp", {**OPTIONS, **options})
    return made


def train(made, folder, steps=3, **options):
    arguments = transformers.TrainingArguments(
        folder,
        use_cpu=True,
        report_to=[],
        max_steps=steps,
        per_device_train_batch_size=options.pop("batch", 4),
        gradient_accumulation_steps=options.pop("accumulate", 2),
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=0,
        **{"learning_rate": 1e-2, **options},
    )
    trainer = transformers.Trainer(made, arguments, train_dataset=TEXT)
    trainer.train()
    return trainer


def layers(made):
    return [module for module in made.modules() if isinstance(module, MoE)]


def test_d6_the_trainer_ends_a_step_of_the_balance_once_per_optimiser_step(tmp_path):
    made = model(balance="bias")
    train(made, tmp_path, steps=3)
    for layer in layers(made):
        assert int(layer.balancer.steps) == 3
        assert int(layer.tally().tokens) == 2 * 4 * 12
        offsets = layer.router.offset_0 / layer.balancer.rate
        assert torch.equal(offsets.round(), offsets.round().clamp(-3, 3))
        assert float(offsets.abs().max()) >= 1


def test_d6_the_mask_of_the_batches_reaches_the_statistics(tmp_path):
    made = model()
    follow_mask(made)
    train(made, tmp_path, steps=2, batch=32, accumulate=1)
    lengths = sum(12 - i % 4 for i in range(32))
    assert [int(layer.tally().tokens) for layer in layers(made)] == [lengths] * 2


def spy(made, seen):
    """Keep the gate's gradient at every optimiser step."""
    gate = layers(made)[0].router.gates[0].center

    class Keep(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, *args, **kwargs):
            seen.append(gate.grad.clone())

    return Keep()


def gradients(folder, **options):
    """The gradients of the gate at two optimiser steps, with parameters that stand still."""
    seen = []
    made = model(**options)
    arguments = transformers.TrainingArguments(
        folder,
        use_cpu=True,
        report_to=[],
        max_steps=2,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        learning_rate=0.0,
        max_grad_norm=0.0,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    transformers.Trainer(made, arguments, train_dataset=TEXT, callbacks=[spy(made, seen)]).train()
    return seen, made


def test_d6_the_auxiliary_loss_is_in_the_gradient_of_the_trainer(tmp_path):
    plain, _ = gradients(tmp_path, balance="none")
    aided, made = gradients(tmp_path, balance="importance", balance_weight=5.0)
    torch.testing.assert_close(aided[0], plain[0])  # no share is known in the first step
    layer = layers(made)[0]
    inputs = []
    handle = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach().flatten(0, 1)))
    batch = torch.utils.data.default_collate(TEXT)
    with torch.no_grad():
        made.eval()(**batch)
    handle.remove()
    share = layer.router(inputs[0]).log_weights[0][:, 0].softmax(-1).mean(0)
    loss = 5.0 * (4 * (share - 0.25).square()).sum()
    (wanted,) = torch.autograd.grad(loss, layer.router.gates[0].center)
    assert float(wanted.abs().max()) > 1e-4
    torch.testing.assert_close(aided[1] - plain[1], wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_d8_training_by_the_trainer_balances_a_hostile_start(tmp_path):
    found = {}
    for balance in ("none", "importance"):
        made = model(balance=balance, balance_weight=0.1, gate="softmax")
        for layer in layers(made):
            with torch.no_grad():
                layer.router.gates[0].bias[0] += 4.0
        trainer = train(
            made, tmp_path, steps=40, batch=8, accumulate=1, learning_rate=3e-2, lr_scheduler_type="constant"
        )
        assert trainer.state.log_history[-1]["train_loss"] < 2.0
        found[balance] = [layer.balancer.values()["importance"] for layer in layers(made)]
    assert max(found["importance"]) < 0.1
    assert min(found["none"]) > 1.0


def test_a_trained_model_is_saved_and_its_weights_load_into_a_fresh_one(tmp_path):
    made = model(balance="bias")
    train(made, tmp_path, steps=2)
    made.save_pretrained(tmp_path / "saved")
    torch.manual_seed(1)
    fresh = transformers.GPT2LMHeadModel(transformers.GPT2Config.from_pretrained(tmp_path / "saved"))
    replace_ffn(fresh, "*.mlp", {**OPTIONS, "balance": "bias"})
    state = load_file(tmp_path / "saved" / "model.safetensors")
    missing, unexpected = fresh.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied to the embedding
    fresh.tie_weights()
    assert same(fresh, made)


class Sparse(transformers.GPT2LMHeadModel):
    """A model whose class says how its networks are replaced."""

    def __init__(self, config):
        super().__init__(config)
        replace_ffn(self, "*.mlp", {**OPTIONS, "balance": "bias"})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained model of that class, and the folder where it is saved."""
    folder = tmp_path_factory.mktemp("sparse")
    torch.manual_seed(0)
    made = Sparse(config())
    train(made, folder, steps=2)
    made.save_pretrained(folder / "saved")
    return made, folder / "saved"


def test_from_pretrained_builds_the_layers_of_a_class_that_replaces_its_networks(saved):
    made, folder = saved
    again, report = Sparse.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert same(again, made)


def test_from_pretrained_gives_a_layer_that_can_go_on_training(saved):
    made, folder = saved
    again = Sparse.from_pretrained(folder)
    for one, other in zip(layers(again), layers(made), strict=True):
        assert float(one.balancer.loss_scale) == 1.0
        assert torch.equal(one.balancer.now, other.balancer.now)
        assert torch.equal(one.balancer.last, other.balancer.last)


def same(one, other):
    """Whether two models have equal states and logits."""
    batch = torch.utils.data.default_collate(TEXT)
    batch.pop("labels")
    states = one.state_dict(), other.state_dict()
    equal = states[0].keys() == states[1].keys()
    equal &= all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    with torch.no_grad():
        return equal and torch.equal(one.eval()(**batch).logits, other.eval()(**batch).logits)
