"""Speed and memory of Wherry beside Docker's, on the same machine, in the same run."""
