"""A method of your own: DARTS whose softmax cools down, so that ops are chosen while it trains.

python examples/custom_supernet_method.py
raynas supernet --method examples.custom_supernet_method:Annealed
"""

from raynas.config import Section
from raynas.supernets.method import Method


class Annealed(Method):
    class Options(Section):
        coldest: float = 0.1

    temperature = 1.0

    def begin_epoch(self, epoch):
        self.temperature = self.options.coldest ** (epoch / self.config.epochs)

    def theta(self):
        return [(alpha / self.temperature).softmax(dim=1) for alpha in self.alphas]

    def state_dict(self):
        return {"temperature": self.temperature}

    def load_state_dict(self, state):
        self.temperature = state["temperature"]


if __name__ == "__main__":
    import raynas

    result = raynas.search_supernet(method=Annealed(coldest=0.05), data="digits", epochs=4)
    print(result.architecture)
