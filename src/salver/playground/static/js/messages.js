// What a server says of an error, put in the order in which a person reads it. Pure.

// TensorFlow's places: [[{{function_node __inference_call_148}}{{node dense/MatMul}}]], or bare at the front.
const NODES = /\[\[\{\{.{0,999}?\}\}\]\]|\{\{(?:function_)?node [^}]*\}\}/gs;

/**
 * The words of a message, and the names of the graph's nodes that stood in it.
 * @returns {{words: string, nodes: string}} nodes is empty where there are none.
 */
export function withoutNodes(message) {
  const nodes = message.match(NODES) ?? [];
  const words = message.replace(NODES, "").split("\n").map((line) => line.trim()).filter(Boolean).join("\n");
  return words ? { words, nodes: nodes.join(" ") } : { words: message, nodes: "" };
}
