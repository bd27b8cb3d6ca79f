"""Pictures: look at them, measure, change and draw them."""
