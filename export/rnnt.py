"""One evaluation of RNN-T greedy decoding as a static ONNX graph: prediction network, joint, best class and what follows from them.

Source of the arithmetic: NeMo 3.0.0, nemo/collections/asr/modules/rnnt.py (RNNTDecoder, RNNTJoint) and
parts/submodules/rnnt_greedy_decoding.py (GreedyRNNTInfer). What is constant at export is folded: the embedding through the first LSTM
layer's input product, so that a token costs a row of a table.
"""

import numpy as np
import onnx

from export.architecture import Architecture, Transducer
from export.conformer import Weights
from export.graph import Array, Floating, GraphBuilder
from runtime.entries import MAX_SYMBOLS

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def build_evaluation(architecture: Architecture, frames: int, weights: Weights, compute: Floating) -> onnx.ModelProto:
    """One evaluation over a chunk of `frames` encoded frames; an architecture with a transducer. `compute`: FP32 or FP16.

    It decides one symbol: a token stays at its frame, up to MAX_SYMBOLS of them, a blank moves on to the next frame. Behind the last
    frame it changes nothing, so any number of evaluations may follow one another.

    Shapes (T: frames, D: model width, N: LSTM layers, P: prediction network's width, S: MAX_SYMBOLS):
    in  encoded FP32 [1, T, D]; of the utterance last INT32 [1] (the last token + 1), hidden and cell FP32 [N, P]; of the chunk frame
        INT32 [1] (that is decoded), emitted INT32 [1] (symbols at that frame), symbols INT32 [1, T, S] (each token + 1, 0 where there is
        none) and scores FP32 [1, T, S] (each token's natural log-probability among the joint's classes when it was decided, 0 where there
        is none); all zero at the utterance's or the chunk's start;
    out next_last, next_hidden, next_cell, next_frame, next_emitted, next_symbols, next_scores.
    """
    if architecture.transducer is None:
        raise ValueError("an architecture without a transducer has no evaluation")
    return _Evaluation(architecture, architecture.transducer, frames, weights, GraphBuilder(compute)).build()


class _Evaluation:
    def __init__(
        self, architecture: Architecture, transducer: Transducer, frames: int, weights: Weights, graph: GraphBuilder
    ) -> None:
        self.architecture, self.transducer, self.frames = architecture, transducer, frames
        self.weights, self.graph = weights, graph

    def build(self) -> onnx.ModelProto:
        g, t = self.graph, self.transducer
        encoded = g.input("encoded", np.float32, [1, self.frames, self.architecture.width])
        last = g.input("last", np.int32, [1])
        hidden = g.input("hidden", np.float32, [t.layers, t.width])
        cell = g.input("cell", np.float32, [t.layers, t.width])
        frame = g.input("frame", np.int32, [1])
        emitted = g.input("emitted", np.int32, [1])
        slots = [1, self.frames, MAX_SYMBOLS]
        symbols = g.input("symbols", np.int32, slots)
        scores = g.input("scores", np.float32, slots)

        with g.scoped("prediction"):
            new_hidden, new_cell = self.predict(last, hidden, cell)
        with g.scoped("joint"):
            best, score = self.join(encoded, frame, new_hidden[-1])
        with g.scoped("decision"):
            blank = g.one("Equal", [best, self.integer("blank", self.architecture.vocabulary)], "is_blank")
            active = g.one("Less", [frame, self.integer("frames", self.frames)], "active")
            emits = g.one("And", [active, g.one("Not", [blank], "is_token")], "emits")
            count = g.one("Add", [emitted, self.integer("one", 1)], "count")
            room = g.one("Less", [count, self.integer("most", MAX_SYMBOLS)], "room")
            stays = g.one("And", [emits, room], "stays")
            moves = g.one("And", [active, g.one("Not", [stays], "leaves")], "moves")
            step = g.one("Cast", [moves], "step", to=onnx.TensorProto.INT32)
            token = g.one("Add", [best, self.integer("one.token", 1)], "token")
            slot = g.one("Mul", [frame, self.integer("symbols", MAX_SYMBOLS)], "slot.frame")
            slot = g.one("Add", [slot, emitted], "slot")
            places = np.arange(self.frames * MAX_SYMBOLS).reshape(slots)
            here = g.one("Equal", [g.constant("places", places, np.int32), slot], "here")
            written = g.one("And", [here, emits], "written")
            following = {
                "last": g.one("Where", [emits, token, last], "last"),
                "hidden": g.one("Where", [emits, self.stacked(new_hidden, "hidden.new"), hidden], "hidden"),
                "cell": g.one("Where", [emits, self.stacked(new_cell, "cell.new"), cell], "cell"),
                "frame": g.one("Add", [frame, step], "frame"),
                "emitted": g.one("Where", [stays, count, self.integer("zero", 0)], "emitted"),
                "symbols": g.one("Where", [written, token, symbols], "symbols"),
                "scores": g.one("Where", [written, score, scores], "scores"),
            }
        for name in ("hidden", "cell"):
            g.output(f"next_{name}", following[name], np.float32, [t.layers, t.width])
        for name in ("last", "frame", "emitted"):
            g.output(f"next_{name}", following[name], np.int32, [1])
        g.output("next_symbols", following["symbols"], np.int32, slots)
        g.output("next_scores", following["scores"], np.float32, slots)
        return g.model(f"rnnt_{np.dtype(g.compute).name}")

    def predict(self, last: str, hidden: str, cell: str) -> tuple[list[str], list[str]]:
        """The LSTM over the last token: hidden and cell [1, P] of each layer, FP32.

        Its gates stand side by side as PyTorch has them: input, forget, candidate, output.
        """
        g, t = self.graph, self.transducer
        hiddens, cells = (self.layers_of(state, name) for state, name in ((hidden, "hidden"), (cell, "cell")))
        new_hidden: list[str] = []
        new_cell: list[str] = []
        for layer in range(t.layers):
            with g.scoped(f"layer{layer}"):
                input_weight, hidden_weight, bias = self.lstm_weights(layer)
                if layer == 0:
                    # The first row is before any token. A blank's, where there is one, is never read: it leaves the last token as it is.
                    embedding = self.weights["decoder.prediction.embed.weight"][: self.architecture.vocabulary]
                    rows = np.concatenate([np.zeros((1, t.width)), embedding])
                    table = g.constant("tokens", rows @ input_weight.T + bias)
                    gates = g.one("Gather", [table, last], "token", axis=0)
                    recurrent = g.linear(hiddens[0], hidden_weight, None, "recurrent")
                    gates = g.one("Add", [g.cast(gates, np.float32), g.cast(recurrent, np.float32)], "gates")
                else:
                    both = g.one("Concat", [new_hidden[-1], hiddens[layer]], "below_and_before", axis=1)
                    weight = np.concatenate([input_weight, hidden_weight], axis=1)
                    gates = g.cast(g.linear(both, weight, bias, "gates"), np.float32)
                enter, forget, candidate, leave = g.split(gates, [t.width] * 4, 1, "parts")
                kept = g.one("Mul", [g.one("Sigmoid", [forget], "forget"), cells[layer]], "kept")
                entered = g.one(
                    "Mul", [g.one("Sigmoid", [enter], "enter"), g.one("Tanh", [candidate], "candidate")], "entered"
                )
                new_cell.append(g.one("Add", [kept, entered], "cell"))
                shown = g.one("Tanh", [new_cell[-1]], "shown")
                new_hidden.append(g.one("Mul", [g.one("Sigmoid", [leave], "leave"), shown], "hidden"))
        return new_hidden, new_cell

    def join(self, encoded: str, frame: str, predicted: str) -> tuple[str, str]:
        """The best class of the frame with the prediction [1, P], INT32 [1], and its log-probability, FP32 [1, 1].

        One product takes both.
        """
        g, a = self.graph, self.architecture
        place = g.one("Min", [frame, self.integer("last_frame", self.frames - 1)], "place")
        heard = g.one("Gather", [g.reshape(encoded, [self.frames, a.width], "frames"), place], "frame", axis=0)
        (heard_weight, heard_bias), (said_weight, said_bias) = (
            self.linear_weights(f"joint.{key}") for key in ("enc", "pred")
        )
        both = g.one("Concat", [heard, predicted], "heard_and_said", axis=1)
        weight = np.concatenate([heard_weight, said_weight], axis=1)
        x = g.linear(both, weight, heard_bias + said_bias, "in")
        x = g.one(ACTIVATIONS[self.transducer.activation], [x], "activation")
        logits = g.logits(x, *self.linear_weights(f"joint.joint_net.{self.transducer.output}"), "logits")
        best, most = g.first_maximum(logits, a.vocabulary, "best")
        return best, g.one("Neg", [g.below_maximum(logits, most)[1]], "score")

    def layers_of(self, state: str, name: str) -> list[str]:
        """[1, P] of each layer."""
        layers = self.transducer.layers
        return [state] if layers == 1 else self.graph.split(state, [1] * layers, 0, f"{name}.layers")

    def stacked(self, layers: list[str], name: str) -> str:
        """[N, P] of each layer's [1, P]."""
        return layers[0] if len(layers) == 1 else self.graph.one("Concat", layers, name, axis=0)

    def integer(self, name: str, value: int) -> str:
        return self.graph.constant(f"{name}.value", [value], np.int32)

    def lstm_weights(self, layer: int) -> tuple[Array, Array, Array]:
        """Of input [4P, P] and hidden state [4P, P], and both biases' sum [4P]."""
        source = "decoder.prediction.dec_rnn.lstm"
        of = {key: self.weights[f"{source}.{key}_l{layer}"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        return of["weight_ih"], of["weight_hh"], of["bias_ih"] + of["bias_hh"]

    def linear_weights(self, source: str) -> tuple[Array, Array]:
        return self.weights[f"{source}.weight"], self.weights[f"{source}.bias"]
