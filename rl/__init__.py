"""Reinforcement learning: rewards, tasks, rollouts on live tools, and the trainer."""
