"""The pages of the site, in the order of its navigation."""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """A page: its file in docs/, its titles, and whether it is in the staff's site only."""

    name: str
    title: str
    title_zh: str
    staff: bool = False


START = Page("index", "VAE Lab", "VAE Lab")
# Title of the section in both languages, and its pages.
SECTIONS: list[tuple[tuple[str, str], list[Page]]] = [
    (
        ("Start", "开始"),
        [START, Page("code_tour", "Read the code in an hour", "一小时读懂代码")],
    ),
    (
        ("The lab", "实验"),
        [
            Page("handout", "Handout", "讲义"),
            Page("answers", "Answer sheet", "答题纸"),
            Page("discrete", "Discrete codes", "离散编码"),
            Page("score", "The score", "评分"),
        ],
    ),
    (
        ("Reference", "参考"),
        [
            Page("options", "Options", "选项"),
            Page("results", "Results", "结果", staff=True),
            Page("gallery", "Gallery", "图集"),
            Page("playground", "Playground", "网页演示"),
            Page("problems", "Problems", "常见问题"),
        ],
    ),
    (
        ("Going further", "深入"),
        [
            Page("beyond", "Beyond the lab", "实验之外", staff=True),
            Page("explore", "Explore", "探索", staff=True),
            Page("cluster", "Clusters and sweeps", "集群与参数搜索", staff=True),
            Page("speed", "Speed", "速度", staff=True),
            Page("files", "Files", "文件", staff=True),
        ],
    ),
    (
        ("For staff", "教师"),
        [
            Page("staff", "Running the course", "组织课程", staff=True),
            Page("grading", "Grading", "评分流程", staff=True),
            Page("adapt", "Adapting the lab", "改编实验", staff=True),
            Page("solutions", "Solutions", "解答", staff=True),
        ],
    ),
]
PAGES = [page for _, pages in SECTIONS for page in pages]
