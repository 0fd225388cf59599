"""Small files in the formats that scripts/data/prepare_*.py read. The same seed gives the same
files."""
import csv
import random

START = 1494000000  # midnight in China; the first day of the Taobao sample
DAY = 86400
PROFILE = ["cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level",
           "shopping_level", "occupation", "new_user_class_level"]


def taobao(seed=20):
    """The four files of Ali_Display_Ad_Click: name -> (header, rows). Few users, times, categories
    and brands: everything coincides somewhere. 900 impressions of 3 days."""
    draw = random.Random(seed)
    users = list(range(1, 30)) + [1141729]
    ads = [[ad, draw.randrange(1, 5), draw.randrange(1, 9), draw.randrange(1, 9),
            draw.choice(["NULL", *range(1, 4)]), draw.choice([1.5, 299.0, 88])]
           for ad in [*range(1, 40), 846811]]
    profiles = [[user, draw.randrange(97), draw.randrange(13), draw.choice([1, 2]),
                 draw.randrange(7), draw.choice(["", 1, 2, 3]), draw.randrange(1, 4),
                 draw.randrange(2), draw.choice(["", 1, 2, 3, 4])]
                for user in users[5:]]

    def second():
        return START + DAY * draw.randrange(3) + 600 * draw.randrange(144)

    impressions = []
    for _ in range(900):
        clk = int(draw.random() < 0.4)
        impressions.append([draw.choice([*users, 999]), second(), draw.choice(ads)[0],
                            draw.choice(["430548_1007", "430539_1007"]), 1 - clk, clk])
    # Users 28 and 29 never did anything else; brand 0 is no brand.
    behaviours = [[draw.choice(users[:27]), second() - DAY // 2,
                   draw.choice(["pv", "pv", "cart", "fav", "buy", "buy"]),
                   draw.randrange(1, 5), draw.randrange(4)] for _ in range(2500)]
    behaviours.append([3, -2147483648, "pv", 9, 99])  # such times are in the published log
    # Shown nothing, and unknown to every ad.
    behaviours.append([500000, START, "buy", 40000, 2000000000])
    return {
        "raw_sample": ("user,time_stamp,adgroup_id,pid,nonclk,clk", impressions),
        "ad_feature": ("adgroup_id,cate_id,campaign_id,customer,brand,price", ads),
        "user_profile": ("userid," + ",".join(PROFILE) + " ", profiles),
        "behavior_log": ("user,time_stamp,btag,cate,brand", behaviours),
    }


def write_taobao(directory, files):
    directory.mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in files.items():
        with open(directory / f"{name}.csv", "w", newline="") as file:
            file.write(header + "\n")
            csv.writer(file, lineterminator="\n").writerows(rows)


def write_shop(path, seed=3, rows=900):
    """Rows of a shop for docs/python.md: users and items that come again, a scene, lists, a price,
    a label."""
    draw = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time", "user_id", "item_id", "scene", "tags", "price", "click"])
        for at in range(rows):
            item = draw.randrange(60)
            writer.writerow([f"2026-01-01 {at // 60:02}:{at % 60:02}:00",
                             f"user-{draw.randrange(40)}", item, draw.choice(["home", "search"]),
                             "|".join(sorted(draw.sample(["food", "home", "toys"], 2))),
                             round(3 + item * 1.7, 2), int(draw.random() < 0.3 + item / 200)])


def write_movielens(directory, seed=5, ratings=1200):
    """ml-100k.inter, .user and .item as scripts/data/prepare_movielens.py reads them: 40 users, 60
    films."""
    draw = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)

    def write(kind, header, rows):
        lines = [header, *rows]
        (directory / f"ml-100k.{kind}").write_text(
            "".join("\t".join(map(str, line)) + "\n" for line in lines))

    jobs = ["artist", "doctor", "engineer", "writer"]
    write("user", ["user_id:token", "age:token", "gender:token", "occupation:token",
                   "zip_code:token"],
          [[user, draw.randrange(10, 70), draw.choice("MF"), draw.choice(jobs),
            draw.choice(["94043", "V0R2H", "10003"])]
           for user in range(1, 41)])
    write("item", ["item_id:token", "movie_title:token_seq", "release_year:token",
                   "class:token_seq"],
          [[item, f"Film {item}", draw.choice([1940, 1985, 1995, ""]),
            draw.choice(["Comedy Romance", "Drama", "War Action"])]
           for item in range(1, 61)])
    write("inter", ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
          [[draw.randrange(1, 41), draw.randrange(1, 61), draw.randrange(1, 6),
            880000000 + draw.randrange(10**6)]
           for _ in range(ratings)])


def census_rows(count, seed):
    """Rows of census-income.data: 42 words."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.choice(["Not in universe", "?", "Private", f"value {draw.randrange(5)}"])
                 for _ in range(42)]
        for numeric, top in ((0, 90), (2, 52), (3, 47), (5, 3000), (16, 20000), (17, 3000),
                             (18, 5000), (30, 7), (36, 3), (38, 3), (39, 53)):
            words[numeric] = str(draw.choice([0, draw.randrange(top)]))
        words[7] = draw.choice(["Never married", "Widowed", "Married-civilian spouse present"])
        words[24] = f"{draw.random() * 3000:.2f}"
        words[40] = draw.choice(["94", "95"])
        words[41] = draw.choice(["- 50000.", "- 50000.", "50000+."])
        rows.append(words)
    return rows


def write_census(directory):
    """Both files, as published: comma and blank between the words. Returns the rows of each."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {"census-income.data": census_rows(600, 1), "census-income.test": census_rows(200, 2)}
    for name, rows in files.items():
        (directory / name).write_text(
            "".join(" " * (i % 2) + ", ".join(row) + "\n" for i, row in enumerate(rows)))
    return files
