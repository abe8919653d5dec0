"""What the U-Net is told beside the picture is computed once, and anew when it has to be."""

import copy
import gc
from collections import Counter

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mmdiffdis.models.diffdis.condition import Condition, ConditionLinear, Remembering

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
LORA = dict(targets=['to_k', 'time_emb_proj'], rank=2, alpha=6)


class LinearCalls(TorchFunctionMode):
    """Counts, by the weight, how often a linear layer is computed."""

    def __init__(self):
        super().__init__()
        self.of = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.linear:
            self.of[id(args[1])] += 1
        return function(*args, **(kwargs or {}))


def predict(model, image=IMAGE):
    with torch.no_grad():
        return model(image)


def told(model):
    """Weights that only what is the same for every picture goes through."""
    backbone = model.backbone
    embeddings = [backbone.time_embedding, *([] if backbone.bde is None else [backbone.bde])]
    layers = [m for m in model.modules() if isinstance(m, ConditionLinear)]
    layers += [m for e in embeddings for m in e.modules() if isinstance(m, torch.nn.Linear)]
    return {id(layer.weight) for layer in layers}


def forgetful(model):
    """The same weights in a model that computes everything at every call."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, Remembering):
            module.remembers = False
    return model


def assert_up_to_date(model):
    expected = predict(forgetful(model))
    for result, other in zip(predict(model), expected, strict=True):
        assert torch.equal(result, other)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(test_cfg=dict(edge=True)),
        dict(test_cfg=dict(num_steps=2)),
        dict(test_cfg=dict(seed=[0, 1])),
        dict(edge=False),
        dict(neck=None),
        dict(neck=dict(interaction=None), backbone=dict(bde=None)),
    ],
)
def test_second_prediction_computes_nothing_that_is_constant(tiny, changes):
    model = tiny(**changes).eval()
    constant = told(model)
    with LinearCalls() as first:
        once = predict(model)
    assert constant <= set(first.of)
    with LinearCalls() as second:
        twice = predict(model)
    assert second.of and not constant & set(second.of)
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert_up_to_date(model)


def test_every_layer_of_a_condition_is_found(tiny):
    """Projections of the embedding and the prompt's keys and values, in backbone and neck."""
    names = {n for n, m in tiny().named_modules() if isinstance(m, ConditionLinear)}
    projections = {n for n, _ in tiny().named_modules() if n.endswith('time_emb_proj')}
    attentions = {n for n, _ in tiny().named_modules() if n.endswith(('attn2', 'prompt_attention'))}
    assert projections and attentions
    assert names == projections | {f'{n}.to_{x}' for n in attentions for x in 'kv'}


def test_first_layers_take_what_both_halves_share_once(tiny):
    model = tiny(test_cfg=dict(edge=True)).eval()
    first, seen = model.backbone.down_blocks[0].resnets[0], []
    for layer in (model.backbone.conv_in, first.conv1, first.conv2):
        layer.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    predict(model)
    assert seen == [1, 1, 2]


def change_in_place(model):
    with torch.no_grad():
        model.backbone.down_blocks[0].resnets[0].time_emb_proj.weight.mul_(2)
        model.backbone.time_embedding.linear_1.bias.add_(1)
        model.neck.transformer.prompt_attention.to_v.weight.neg_()


def step_of_training(model):
    weights = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    torch.optim.SGD(weights, lr=0.1).step()
    model.eval()


def other_weights(model, **kwargs):
    state = {n: w * 1.1 if 'backbone' in n else w for n, w in model.state_dict().items()}
    model.load_state_dict(state, **kwargs)


def through_data(model):
    """As MMEngine's EMA hook swaps weights; the loop calls `eval()` then."""
    for parameter in model.parameters():
        parameter.data.copy_(parameter.data * 1.1)
    model.eval()


def other_bde(model):
    with torch.no_grad():
        model.backbone.bde.projection.linear_2.bias.add_(1)


def set_parameter(model):
    layer = model.backbone.up_blocks[0].resnets[0].time_emb_proj
    layer.weight = torch.nn.Parameter(layer.weight * 2)


CHANGES = {
    'in place': change_in_place,
    'training': step_of_training,
    'loaded': other_weights,
    'assigned': lambda model: other_weights(model, assign=True),
    'through data': through_data,
    'bde': other_bde,
    'parameter': set_parameter,
    'rounded': lambda model: model.to(torch.bfloat16).float(),
    'prompt': lambda model: model.prompt.mul_(2),
    'other prompt': lambda model: setattr(model, 'prompt', model.prompt * 2),
}


@pytest.mark.parametrize('name', CHANGES)
def test_what_changes_is_computed_anew(tiny, name):
    model = tiny(test_cfg=dict(edge=True)).eval()
    before = predict(model)
    CHANGES[name](model)
    after = predict(model)
    assert after[0].isfinite().all() and not torch.equal(after[0], before[0])
    assert_up_to_date(model)


def test_other_batches_and_steps_have_their_own(tiny):
    model = tiny().eval()
    images = torch.cat([IMAGE, -IMAGE, IMAGE / 2])
    for num_steps in (1, 2, 1):
        model.test_cfg['num_steps'] = num_steps
        for number in (1, 3, 2, 1):
            assert torch.equal(
                predict(model, images[:number])[0], predict(forgetful(model), images[:number])[0]
            )


def test_half_precision_and_inference_mode(tiny):
    model = tiny().eval()
    predict(model)
    model.set_precision(torch.bfloat16)
    assert_up_to_date(model)
    with torch.inference_mode():
        first = model(IMAGE)
    with LinearCalls() as second, torch.inference_mode():
        again = model(IMAGE)
    assert not told(model) & set(second.of)
    assert torch.equal(first[0], again[0])
    assert_up_to_date(model)


def test_autocast_is_not_remembered(tiny):
    model = tiny().eval()
    with torch.autocast('cpu', torch.bfloat16):
        predict(model)
    assert_up_to_date(model)


def test_adapters_change_what_is_told(tiny):
    model = tiny(lora=LORA).eval()
    before = predict(model)[0]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'lora_' in name:
                parameter.normal_(std=0.1)
    assert not torch.equal(predict(model)[0], before)
    assert_up_to_date(model)


def test_gradients_flow_where_they_are_asked_for(tiny):
    model = tiny().eval()
    predict(model)
    weight = model.backbone.down_blocks[0].resnets[0].time_emb_proj.weight
    model(IMAGE)[0].sum().backward()
    assert weight.grad.abs().sum() > 0


def test_nothing_outlives_its_condition(tiny):
    model = tiny().eval()
    linear = next(m for m in model.modules() if isinstance(m, ConditionLinear))
    with torch.no_grad():
        condition = Condition(torch.randn(2, linear.in_features), torch.randn(2, 2, 8))
        assert linear(condition.embedding) is linear(condition.embedding)
        assert len(linear._results) == 1
        condition.embedding.mul_(2)  # the same object, another content
        expected = F.linear(condition.embedding, linear.weight, linear.bias)
        assert torch.equal(linear(condition.embedding), expected)
    del condition
    gc.collect()
    assert len(linear._results) == 0
    predict(model)
    assert len(linear._results) == 1
    model.eval()
    assert len(linear._results) == 0


def test_state_and_copies_are_without_what_is_remembered(tiny, tmp_path):
    model = tiny().eval()
    names = set(model.state_dict())
    predict(model)
    assert set(model.state_dict()) == names
    torch.save(model, tmp_path / 'model.pt')
    for other in (copy.deepcopy(model), torch.load(tmp_path / 'model.pt', weights_only=False)):
        assert all(not m._results for m in other.modules() if isinstance(m, Remembering))
        assert torch.equal(predict(other)[0], predict(model)[0])
