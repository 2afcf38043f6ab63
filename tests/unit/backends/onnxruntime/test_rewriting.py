"""Files whose maps are made matrices stay the same otherwise."""

from pathlib import Path

import onnx
from tests.onnx_models import classifier, save

from salver.backends.onnxruntime.files import examine
from salver.backends.onnxruntime.rewriting import without_zip_maps


def test_the_node_and_the_declaration_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    proto = classifier()
    proto.producer_name = "a producer"
    proto.metadata_props.add(key="k", value="v")
    path = save(proto, tmp_path)
    found = examine(path, max_nodes=1000)
    data = without_zip_maps(path, found.file.graph_spans, found.meaning.zip_maps)
    changed = onnx.load_model_from_string(data)
    onnx.checker.check_model(changed)
    (node,) = [node for node in changed.graph.node if node.op_type == "Identity"]
    assert (list(node.input), list(node.output)) == (["scores"], ["probabilities"])
    declared = changed.graph.output[1]
    assert declared.name == "probabilities"
    assert [dim.dim_value for dim in declared.type.tensor_type.shape.dim] == [0, 3]
    for each, other in ((changed, proto),):
        each.graph.node[1].CopyFrom(other.graph.node[1])
        each.graph.output[1].CopyFrom(other.graph.output[1])
    assert changed == proto
