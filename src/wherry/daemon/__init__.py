"""The composition root: builds every service, configuration, events, start-up, shutdown."""
