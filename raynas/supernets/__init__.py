"""Weight sharing: networks that hold every op of every edge, and the methods that train them."""
